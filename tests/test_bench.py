import importlib
import json
import sys
from contextlib import closing
from types import ModuleType

from nbcad import bench, database
from nbcad.bench import conversion

NAMES = {
    "slices converted", "slices a second, all cores", "processor time a slice",
    "processor time a slice, decoding and preprocessing alone", "ratio of the two", "memory of all processes, peak",
}  # fmt: skip


def test_figures_are_written_and_other_parts_keep_theirs(monkeypatch, tmp_path):
    part = ModuleType("nbcad.bench.fake")
    part.measure = lambda folder, size: [bench.Figure("size", size, "B"), bench.Figure("d", folder.is_dir(), "")]
    monkeypatch.setitem(sys.modules, part.__name__, part)
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"another": {"figures": []}}))
    figures = bench.run(["fake"], size=80, out=out)
    assert [figure.value for figure in figures["fake"]] == [80, True]
    written = json.loads(out.read_text())
    assert written["another"] == {"figures": []}
    assert written["fake"]["figures"][0] == {"name": "size", "value": 80, "unit": "B", "bound": None, "least": None}
    assert written["fake"]["machine"]["cores"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_every_part_can_be_measured():
    for part in bench.PARTS:
        assert callable(importlib.import_module(f"nbcad.bench.{part}").measure)


def test_conversion_is_measured(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "PASSES", 1)
    figures = conversion.measure_database(flow.database, tmp_path, size=10)
    assert {figure.name for figure in figures} == NAMES
    assert all(figure.value > 0 for figure in figures)


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
