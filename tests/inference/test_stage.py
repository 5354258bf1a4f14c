import numpy as np
import pytest

from nbcad.dicom.age import Age
from nbcad.inference.stage import AGE_UNKNOWN, TOO_OLD_FOR_MS, UNDETERMINED, apply_age, mean_stage, suggested

LABELS = ["normal", "L1", "L2", "M", "MS"]
LIKE_MS = np.array([0.05, 0.05, 0.1, 0.2, 0.6])


def test_ms_becomes_m_from_18_months_on():
    stages, notes = apply_age(LIKE_MS, LABELS, Age.exactly(18))
    np.testing.assert_allclose(stages, [0.05, 0.05, 0.1, 0.8, 0])
    assert notes == [TOO_OLD_FOR_MS]


def test_ms_stays_under_18_months():
    stages, notes = apply_age(LIKE_MS, LABELS, Age.exactly(17))
    np.testing.assert_array_equal(stages, LIKE_MS)
    assert notes == []


def test_unknown_age_is_said_where_it_matters():
    stages, notes = apply_age(LIKE_MS, LABELS, None)
    np.testing.assert_allclose(stages, [0.05, 0.05, 0.1, 0.8, 0])  # MS is only given to who is known to be young
    assert notes == [AGE_UNKNOWN]
    assert apply_age(np.array([0, 0.9, 0.1, 0, 0]), LABELS, None)[1] == []


@pytest.mark.parametrize(
    ("least", "most", "decided"), [(12, 17, True), (12, 23, False), (17, 18, False), (18, 23, True)]
)
def test_ms_stays_undecided_where_the_age_may_be_on_either_side_of_the_limit(least, most, decided):
    stages, notes = apply_age(LIKE_MS, LABELS, Age(least, most))
    assert (stages[4] > 0) == (most < 18) and stages.sum() == pytest.approx(1)
    undecided = f"The patient is {least} to {most} months old: M and MS cannot be told apart."
    assert (undecided in map(str, notes)) != decided
    assert apply_age(np.array([0, 0.9, 0.1, 0, 0]), LABELS, Age(least, most))[1] == []


@pytest.mark.parametrize(
    ("age", "young"), [(Age.exactly(11), 0.8), (Age.exactly(12), 0.0), (Age(11, 12), 0.0), (None, 0.0)]
)
def test_4s_of_inss_is_under_12_months(age, young):
    stages, notes = apply_age(np.array([0.1, 0.1, 0.8]), ["3", "4", "4S"], age)
    assert stages[2] == young and stages.sum() == pytest.approx(1)
    assert bool(notes) == (young == 0)


def test_another_staging_system_is_left_alone():
    stages, notes = apply_age(np.array([0.2, 0.8]), ["I", "II"], Age.exactly(40))
    assert stages.tolist() == [0.2, 0.8] and notes == []


@pytest.mark.parametrize(("best", "label"), [(0, None), (1, None), (2, None), (3, "3"), (4, "4"), (5, "4S")])
def test_no_stage_is_suggested_that_only_surgery_tells(best, label):
    notes = [] if label else [UNDETERMINED]
    assert suggested(np.eye(6)[best], ["1", "2A", "2B", "3", "4", "4S"]) == (label, notes)


def test_stages_that_images_cannot_tell_apart_count_together():
    labels = ["1", "2A", "2B", "3", "4"]
    assert suggested(np.array([0.2, 0.2, 0.2, 0.3, 0.1]), labels) == (None, [UNDETERMINED])
    assert suggested(np.array([0.1, 0.1, 0.1, 0.4, 0.3]), labels) == ("3", [])


def test_patient_bears_the_stage_of_its_lesions_by_their_probability():
    stage = mean_stage([np.array([1.0, 0, 0, 0]), np.array([0, 0, 1.0, 0])], [0.2, 0.6])
    assert stage == pytest.approx([0.25, 0, 0.75, 0])
