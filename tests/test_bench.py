import json
from contextlib import closing

import pytest

from nbcad import bench, database
from nbcad.bench import conversion

NAMES = {
    "slices converted", "slices a second, all cores", "processor time a slice",
    "processor time a slice, decoding and preprocessing alone", "ratio of the two", "memory of all processes, peak",
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """A phantom of few slices instead of whole bodies."""
    generate = conversion.phantom.generate
    monkeypatch.setattr(conversion, "PATIENTS", 4)
    monkeypatch.setattr(conversion, "PASSES", 1)
    monkeypatch.setattr(
        conversion.phantom, "generate", lambda *given, **named: generate(*given, **(named | {"max_slices": 6}))
    )


def test_conversion_is_measured_and_other_parts_keep_their_figures(small, tmp_path):
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"another": {"figures": []}}))
    figures = bench.run(["conversion"], size=80, out=out)["conversion"]
    assert {figure.name for figure in figures} == NAMES
    assert all(figure.value > 0 for figure in figures)
    written = json.loads(out.read_text())
    assert written["another"] == {"figures": []}
    assert [figure["value"] for figure in written["conversion"]["figures"]] == [figure.value for figure in figures]
    assert written["conversion"]["machine"]["cores"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_repeated_database_names_each_image_as_often_under_new_numbers(flow, tmp_path):
    with closing(database.connect(flow.database)) as connection:
        (slices,) = connection.execute("SELECT count(*) FROM slice").fetchone()
        (samples,) = connection.execute("SELECT count(*) FROM sample").fetchone()
    assert conversion.repeat(flow.database, tmp_path / "many.sqlite", 2 * slices + 1) == 3 * slices
    with closing(database.connect(tmp_path / "many.sqlite")) as connection:
        assert connection.execute("SELECT count(DISTINCT slice) FROM slice").fetchone()[0] == 3 * slices
        assert connection.execute("SELECT count(*) FROM sample JOIN slice USING (slice)").fetchone()[0] == 3 * samples
        gaps = connection.execute(
            "SELECT count(*) FROM (SELECT max(key) + 1 - count(*) AS gap FROM sample GROUP BY task, split) WHERE gap"
        ).fetchone()[0]
    assert gaps == 0


def test_figure_says_if_it_exceeds_its_bound():
    assert str(bench.Figure("ratio", 1.5, "", 1.3)).endswith("at most 1.3: EXCEEDED")
    assert str(bench.Figure("ratio", 1.2, "", 1.3)).endswith("at most 1.3")
