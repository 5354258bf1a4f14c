"""Samples: which windows and slices are taken of a patient, and how many."""

import pytest

import make_hospital
from make_hospital import build_database
from nbcad.annotation.annotations import SliceAnnotation
from nbcad.samples import sampling
from nbcad.samples.build_run import Options
from sample_database import query


def test_positive_windows_lie_in_the_lesion_and_negative_ones_off_it(hospital):
    build_database(hospital)
    rows = query(
        hospital / "out" / "samples.sqlite",
        "SELECT sample.*, row0, col0, row1, col1 FROM sample LEFT JOIN lesion_box USING (slice) WHERE task = 'stage'",
    )
    assert {row["label"] for row in rows} == {0, 1}
    for row in rows:
        if row["label"]:
            assert row["row0"] <= row["row"] <= row["row1"] and row["col0"] <= row["col"] <= row["col1"]
        elif row["row0"] is not None:
            clearance = sampling.CLEARANCE_MM / 2  # pixels are 2 mm
            outside = (
                row["row"] < row["row0"] - clearance or row["row"] >= row["row1"] + clearance,
                row["col"] < row["col0"] - clearance or row["col"] >= row["col1"] + clearance,
            )
            assert any(outside)
    assert {row["mirrored"] for row in rows} == {0, 1}


def test_stages_give_equally_many_windows_and_so_do_the_lesions_of_a_stage():
    def lesion(stage, boxes):
        return [SliceAnnotation(None, True, [(stage, (0, 0, 9, 9))])] * boxes

    large, small, rare = (lesion("M", 9), lesion("M", 3), lesion("L1", 4))
    nothing = [SliceAnnotation(None, True)]
    windows = sampling.windows_per_box([large + nothing + small, rare])
    of_m, of_l1 = ([n for of_slice in series for n in of_slice] for series in windows)
    assert sum(of_m) == pytest.approx(sum(of_l1)) == pytest.approx(sampling.POSITIVES_PER_BOX * 16 / 2)
    assert sum(of_m[:9]) == pytest.approx(sum(of_m[9:]))


def test_slice_without_region_is_no_organ_sample(hospital):
    counts = build_database(hospital).counts["organ"]
    slices = {split: sum(c.values()) for split, c in counts.items()}
    assert slices["val"] + slices["test"] == 4 * 3
    assert slices["train"] == 8 * 3 * (1 + sampling.ORGAN_COPIES)


def test_only_training_slices_get_jittered_copies_each_another(hospital):
    build_database(hospital)
    rows = query(hospital / "out" / "samples.sqlite", "SELECT * FROM sample WHERE task = 'organ'")
    jittered = [(row["turn_deg"], row["zoom"], row["down"], row["right"]) for row in rows if row["zoom"]]
    assert len(set(jittered)) == len(jittered) == 8 * 3 * sampling.ORGAN_COPIES
    assert {row["split"] for row in rows if row["zoom"]} == {"train"}
    assert {row["split"] for row in rows if row["zoom"] is None} == {"train", "val", "test"}


def test_slice_whose_lesions_are_not_known_gives_no_normal_windows(hospital):
    text = (hospital / "annotations.csv").read_text().replace(",normal,", ",,")
    (hospital / "annotations.csv").write_text(text)
    counts = build_database(hospital).counts["stage"]
    normal = query(
        hospital / "out" / "samples.sqlite",
        "SELECT 1 FROM sample WHERE task = 'stage' AND slice NOT IN (SELECT slice FROM lesion_box)",
    )
    assert not normal and sum(c["L1"] for c in counts.values()) > 0


def test_balance_leaves_as_many_samples_of_each_class_as_of_the_rarest(hospital):
    plain = build_database(hospital).counts
    balanced = build_database(hospital, Options(balance=True), force=True).counts
    for task, names in (("organ", ["adrenal", "retroperitoneum", "thorax"]), ("stage", ["normal", "L1"])):
        rarest = min(plain[task]["train"][name] for name in names)
        assert {balanced[task]["train"][name] for name in names} == {rarest}
        assert [balanced[task][split] for split in ("val", "test")] == [plain[task][s] for s in ("val", "test")]
    first = _samples(hospital)
    build_database(hospital, Options(balance=True), force=True)
    assert _samples(hospital) == first


def test_balance_while_growing_takes_out_nothing_that_stands_there(hospital, rng):
    build_database(hospital, Options(balance=True))
    before = _samples(hospital)
    make_hospital.hospital(hospital, rng, patients=range(12, 20))
    built = build_database(hospital, Options(balance=True))
    assert before <= _samples(hospital)
    assert len(set(built.counts["stage"]["train"][name] for name in ("normal", "L1"))) == 1


def _samples(folder):
    return {tuple(row) for row in query(folder / "out" / "samples.sqlite", "SELECT * FROM sample")}
