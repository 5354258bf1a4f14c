"""From the records to metrics.json: what is counted, where, and that every part sums to the whole."""

import dataclasses
import json

import numpy as np
import pytest

from make_analysis import analysis, lesion, untrained
from make_records import false_lesion, image, patient, records, series, true_lesion, ward
from nbcad.dicom.age import Age
from nbcad.errors import InputError
from nbcad.evaluation import document, figures
from nbcad.evaluation.records import NO_LESION, NOT_KNOWN, SEVERAL, series_record
from nbcad.evaluation.truth import Truth
from nbcad.evaluation.types import Metrics, ModelFolders
from nbcad.runtime.json_file import read_json, write_json


@pytest.fixture(scope="module")
def counted():
    return figures.of_records(ward())


def test_a_missed_lesion_counts_even_where_nothing_was_found():
    one = patient("M", "normal", of=[series([image(tumour=True)], [true_lesion(found=False)])])
    other = patient("L1", "L1", of=[series([image(tumour=True, found=True)], [true_lesion()])])
    tumour = figures.of_records(records(one, other)).tumour
    assert (tumour.lesion.sensitivity.value, tumour.lesion.true) == (0.5, 2)
    assert tumour.lesion.iou.mean_missed_as_0.value == 0.25
    assert tumour.lesion.iou.median_of_found.value == 0.5
    assert tumour.patient.sensitivity.value == tumour.slice.sensitivity.value == 0.5


def test_lesions_are_counted_over_all_series_of_a_patient(counted):
    lesion = counted.tumour.lesion
    assert (lesion.true, lesion.found, lesion.false) == (6, 3, 3)
    assert lesion.false_per_patient.value == 3 / 7
    assert lesion.sensitivity.patients == 4
    assert lesion.iou.share_at_least["0.25"].value == 2 / 6
    assert lesion.centre_distance_mm.of_found == (3, 3, 9)


def test_slices_not_looked_at_or_without_a_region_are_left_out(counted):
    by_slice = counted.tumour.slice
    assert (by_slice.tp, by_slice.fn, by_slice.tn, by_slice.fp) == (2, 2, 3, 1)
    organ = counted.organ
    assert (organ.slices, organ.slices_without_label, organ.of_these_other) == (8, 1, 1)
    assert organ.accuracy.value == 6 / 8 and organ.confusion.counts[0] == (2, 0, 1, 1)
    assert organ.one_against_rest["adrenal"].fn == 2


def test_patients_by_stage(counted):
    by_patient = counted.tumour.patient
    assert (by_patient.tp, by_patient.fn, by_patient.tn, by_patient.fp) == (3, 1, 2, 1)
    stage = counted.stage
    assert (stage.accuracy.value, stage.accuracy.n) == (4 / 7, 7)
    assert stage.confusion.counts[0] == (2, 1, 0, 0, 0)
    assert sum(b.share.n for b in stage.calibration.bins) == 4  # only where a lesion was found


def test_froc_points_are_the_sweeps_sums(counted):
    points = counted.tumour.froc.points
    assert [p.false_per_patient for p in points] == pytest.approx([6 / 7, 3 / 7], abs=1e-4)
    assert [p.sensitivity for p in points] == [0.5, 0.5]
    assert [f.value for f in counted.tumour.froc.at.values()] == [0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("age", "group"),
    [(Age(12, 17), "under 18 months"), (Age(12, 23), NOT_KNOWN), (Age(18, 23), "18 months and over")],
)
def test_age_that_may_be_on_either_side_of_the_limit_is_in_neither_group(age, group):
    assert patient(age=age).age_group == group


@pytest.mark.parametrize("name", ["organ", "stage", "age", "weighting"])
def test_every_stratum_sums_to_the_whole(counted, name):
    rows, whole = counted.strata[name], counted.tumour.lesion
    for count in ("true", "found", "false"):
        assert sum(getattr(row.lesion, count) for row in rows) == getattr(whole, count)
    assert sum(row.stage_accuracy.n for row in rows) == 7
    right = sum((row.stage_accuracy.value or 0) * row.stage_accuracy.n for row in rows)
    assert right == pytest.approx(4)


def test_strata_have_the_right_groups_in_order_and_denominators(counted):
    groups = {name: [row.group for row in rows] for name, rows in counted.strata.items()}
    assert groups == {
        "organ": ["adrenal", "thorax", NO_LESION, NOT_KNOWN],
        "stage": ["normal", "L1", "L2", "M", "MS"],
        "age": ["under 18 months", "18 months and over", NOT_KNOWN],
        "weighting": ["DWI", "T1", "T2", SEVERAL],
    }
    rows = {(name, row.group): row for name, rows in counted.strata.items() for row in rows}
    assert rows["weighting", "T1"].lesion.false_per_patient.n == 1
    assert rows["weighting", "T2"].lesion.false_per_patient.n == 6
    assert rows["organ", "adrenal"].lesion.false_per_patient.n == 7
    assert rows["organ", NO_LESION].lesion.false_per_patient.value is None
    assert rows["age", "under 18 months"].stage_accuracy.n == 2  # 17 months is under, 18 is not
    assert rows["stage", "normal"].lesion.sensitivity.reason == "no lesion"
    assert rows["organ", NOT_KNOWN].stage_accuracy.n == 1  # the largest lesion's region decides


def test_nothing_but_normal_patients_is_no_error():
    counted = figures.of_records(records(patient(), patient(of=[series([image(None)], [], [false_lesion()])])))
    assert counted.tumour.lesion.sensitivity.reason == "no lesion"
    assert counted.tumour.patient.roc.auc.reason == "no positive case"


@pytest.fixture(scope="module")
def document_of_ward():
    models = untrained(threshold=0.3)
    return document.assemble(ward(), models, ModelFolders("runs/organ", "runs/stage"))


def test_the_document_reads_back_as_written_and_has_no_name_of_anyone(document_of_ward, tmp_path):
    write_json(document_of_ward, tmp_path / "metrics.json")
    read = json.loads((tmp_path / "metrics.json").read_text())
    assert read_json(tmp_path / "metrics.json", Metrics, InputError) == document_of_ward
    assert (read["schema"], read["research_use_only"], read["synthetic"]) == ("nbcad-metrics/1", True, True)
    assert read["data"] == {
        "split": "test", "patients": 7, "series": 8, "slices": 9, "lesions": 6, "pixels_sha256": "0" * 64,
    }  # fmt: skip
    assert set(read["stage"]["accuracy"]) == {"value", "low", "high", "n", "patients", "reason"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ("[]", "is not of the schema nbcad-metrics/1"),
        ('{"schema": "nbcad-metrics/0"}', "is not of the schema nbcad-metrics/1"),
        ('{"schema": "nbcad-metrics/1"}', "research_use_only is missing"),
    ],
)
def test_what_is_not_metrics_is_not_shown_beside(document_of_ward, tmp_path, content, reason):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(InputError, match=reason):
        document.read_beside(tmp_path / "other.json", document_of_ward)


def test_figures_of_other_images_are_not_shown_beside(document_of_ward, tmp_path):
    data = dataclasses.replace(document_of_ward.data, pixels_sha256="1")
    for others, path in ((document_of_ward.data, tmp_path / "same.json"), (data, tmp_path / "other.json")):
        write_json(dataclasses.replace(document_of_ward, data=others), path)
    assert document.read_beside(tmp_path / "same.json", document_of_ward) == document_of_ward
    with pytest.raises(InputError, match="other images"):
        document.read_beside(tmp_path / "other.json", document_of_ward)


def _truth(lesions, looked_at=(True, True, True)) -> Truth:
    return Truth("p", "L1", ["adrenal", "adrenal", None], list(looked_at), lesions)


def test_record_of_a_series_by_hand():
    """Pixels of 2 mm, slices 5 mm apart."""
    true = {0: (4, 4, 8, 8), 1: (4, 4, 8, 8)}
    found = [lesion({0: (4, 5, 8, 9)}, probability=0.7), lesion({2: (15, 15, 18, 18)}, probability=0.6)]
    record = series_record(_truth([true]), analysis(found), [0.2, 0.5])
    (of_true,) = record.lesions
    assert (of_true.organ, of_true.found, of_true.probability) == ("adrenal", True, 0.7)
    assert of_true.overlap == 12 / (32 + 16 - 12)
    # true centre: slice 0.5, column 5.5; found: slice 0, column 6.5
    assert of_true.distance_mm == pytest.approx(np.hypot(2.5, 2.0), abs=0.01)
    assert of_true.volume_mm3 == 32 * 4 * 5
    assert [(f.organ, f.true) for f in record.found] == [("adrenal", True), (NOT_KNOWN, False)]
    assert [(s.tumour, s.tumour_answer) for s in record.slices] == [(True, True), (True, False), (False, True)]
    # the heat is 0.4 everywhere: at 0.2 all is one lesion, at 0.5 there is none
    assert [count.hit for count in record.sweep] == [1, 0] and [s.score for s in record.slices] == [0.2] * 3


def test_without_geometry_a_lesion_has_overlap_but_no_millimetres():
    found = lesion({0: (4, 4, 8, 8)})
    record = series_record(_truth([{0: (4, 4, 8, 8)}]), analysis([found], axes=None), [0.5])
    assert record.lesions[0].found and record.lesions[0].overlap == 1 and record.lesions[0].distance_mm is None


def test_found_lesions_on_slices_not_looked_at_are_neither_true_nor_false():
    found = lesion({2: (4, 4, 8, 8)})
    record = series_record(_truth([], (True, True, False)), analysis([found]), [0.5])
    assert record.found == []


def test_true_lesion_is_paired_with_the_found_one_of_most_overlap():
    true = {0: (4, 4, 12, 12)}
    small, large = lesion({0: (4, 4, 6, 6)}, probability=0.9), lesion({0: (4, 4, 12, 11)}, probability=0.6)
    (placed,) = series_record(_truth([true]), analysis([small, large]), [0.5]).lesions
    assert (placed.overlap, placed.probability) == (7 / 8, 0.6)


def test_patient_without_a_suggested_stage_is_wrong_and_not_calibrated():
    undecided, right = (
        dataclasses.replace(patient("L1", "L1", of=[series([image(found=True)], [true_lesion()])]), **facts)
        for facts in ({"stage_answer": None}, {})
    )
    stage = figures.of_records(records(undecided, right)).stage
    assert (stage.accuracy.value, stage.accuracy.n) == (0.5, 2)
    assert stage.confusion.columns[-1] == "none" and stage.confusion.counts[1] == (0, 1, 0, 0, 0, 1)
    assert sum(part.share.n for part in stage.calibration.bins) == 1
