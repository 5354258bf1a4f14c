"""Suitability: which series are like those that the models were trained on, and what is said of the others."""

from dataclasses import replace

import numpy as np
import pytest

from make_analysis import analysis, lesion
from nbcad.dicom.age import Age
from nbcad.inference.study_stage import study_stage
from nbcad.inference.suitability import (
    DOUBTFUL,
    SUITED,
    UNSUITED,
    Suitability,
    SuitabilityLimits,
    TrainingData,
    measure,
    of_series,
    of_study,
    trained_on,
)

LIMITS = SuitabilityLimits(unlikeness=2.0, alike=0.8, hardly_alike=0.6, recognised=0.3)
DATA = TrainingData(synthetic=True, patients=9, age_months=(1, 140), weightings=("T2",), slice_step_mm=(3.0, 8.0))
COUNT = 10


def _suitability(alike=1.0, recognised=1.0, count=COUNT, step_mm=5.0, data=DATA, **facts) -> Suitability:
    series = replace(analysis(count=count, step_mm=step_mm).series, **facts)
    organs = ["thorax" if n < recognised * count else "other" for n in range(count)]
    unlikeness = np.where(np.arange(count) < alike * count, 1.0, 3.0)
    return of_series(series, measure(series, organs, unlikeness, LIMITS), LIMITS, data)


def test_series_like_those_trained_on_is_suited():
    found = _suitability()
    assert (found.verdict, found.reasons) == (SUITED, ())
    assert (found.measures.slices, found.measures.alike, found.measures.recognised) == (COUNT, 1.0, 1.0)
    assert found.measures.slice_step_mm == 5.0


@pytest.mark.parametrize(
    ("facts", "verdict", "reason"),
    [
        ({"alike": 0.7}, DOUBTFUL, "Only 70 % of the slices are like"),
        ({"alike": 0.5}, UNSUITED, "Only 50 % of the slices are like"),
        ({"recognised": 0.2}, DOUBTFUL, "Only 20 % of the slices show a region"),
        ({"recognised": 0.0}, UNSUITED, "No slice shows a region"),
        ({"plane": "coronal"}, UNSUITED, "not axial"),
        ({"weighting": "T1"}, UNSUITED, "weighted T1; the models were trained on T2"),
        ({"weighting": ""}, DOUBTFUL, "weighting of the series is not known"),
        ({"count": 1}, DOUBTFUL, "single slice"),
        ({"step_mm": 13.0}, DOUBTFUL, "13.0 mm apart; the models know 3.0 to 8.0 mm"),
        ({"step_mm": 1.5}, DOUBTFUL, "1.5 mm apart"),
        ({"age": Age.exactly(28 * 12)}, UNSUITED, "28 years old; the models know 1 to 140 months"),
        ({"age": Age.exactly(150)}, DOUBTFUL, "150 months old; the models know 1 to 140 months"),
        ({"age": Age.exactly(0)}, DOUBTFUL, "0 months old"),
    ],
)
def test_each_difference_from_the_training_data_is_named(facts, verdict, reason):
    found = _suitability(**facts)
    assert found.verdict == verdict and reason in str(found.reasons[0])


@pytest.mark.parametrize("facts", [{"age": None}, {"age": Age(136, 147)}, {"data": replace(DATA, age_months=None)}])
def test_age_that_may_be_one_of_those_trained_on_is_nothing_against_the_images(facts):
    assert _suitability(**facts).verdict == SUITED


def test_worst_reason_comes_first_and_decides():
    found = _suitability(weighting="", alike=0.1)
    assert found.verdict == UNSUITED and "like those" in str(found.reasons[0]) and len(found.reasons) == 2


def test_study_is_as_suited_as_its_best_series():
    bad, good = Suitability(UNSUITED, ("bad",)), Suitability(DOUBTFUL, ("good",))
    assert of_study([bad, good]) == good and of_study([bad]).verdict == UNSUITED
    assert of_study([]).verdict == UNSUITED and "could be analysed" in str(of_study([]).reasons[0])


def test_unsuited_series_have_no_say_in_the_stage(blind):
    sick = analysis([lesion({0: (2, 2, 5, 5)}, (0, 0, 1, 0))], suitability=Suitability(UNSUITED, ()))
    assert study_stage([sick], Age.exactly(30), blind).label is None
    assert study_stage([sick, analysis()], Age.exactly(30), blind).label == "normal"


def test_single_slice_tells_no_stage(blind):
    sick = lesion({0: (2, 2, 5, 5)}, (0, 0, 1, 0))
    alone = study_stage([analysis([sick], count=1)], Age.exactly(30), blind)
    assert alone.label is None and not alone.probabilities and "single slice" in str(alone.notes[0])
    assert study_stage([analysis([sick], count=1), analysis()], Age.exactly(30), blind).label == "M"


@pytest.mark.parametrize(("synthetic", "said"), [(True, "phantom (9 synthetic patients)"), (False, "of 9 patients")])
def test_reader_learns_what_the_models_were_trained_on(synthetic, said):
    assert said in str(trained_on(replace(DATA, synthetic=synthetic)))
