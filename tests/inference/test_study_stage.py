"""The stage of a study: from all its lesions, by size, age and what images can tell."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from make_analysis import analysis, lesion
from nbcad.dicom.age import Age
from nbcad.inference.calibration import Calibration
from nbcad.inference.stage import AGE_UNKNOWN, SURGICAL, TOO_OLD_FOR_MS, UNDETERMINED
from nbcad.inference.study_stage import study_stage


def test_study_without_a_lesion_is_normal_and_tells_its_probability(blind):
    cold, warm = analysis(), analysis()
    warm.heat[1, 0, 3, 3] = 0.17
    stage = study_stage([cold, warm], Age.exactly(12), blind)
    assert (stage.label, stage.probabilities["normal"]) == ("normal", 1)
    assert "0.83" in str(stage.notes[0])


def test_study_with_improbable_lesions_alone_is_normal(blind):
    stage = study_stage([analysis([lesion({0: (2, 2, 5, 5)}, (0, 1, 0, 0), probability=0.2)])], Age.exactly(12), blind)
    assert (stage.label, stage.probabilities["normal"]) == ("normal", 0.8)


@given(
    of_lesions=st.lists(st.tuples(st.floats(0, 1), st.lists(st.floats(0.001, 1), min_size=6, max_size=6)), max_size=4),
    age=st.none() | st.builds(lambda least, more: Age(least, least + more), st.integers(0, 60), st.integers(0, 12)),
    stages=st.sampled_from((("L1", "L2", "M", "MS"), ("1", "2A", "2B", "3", "4", "4S"))),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_stage_contradicts_its_own_probabilities(blind, of_lesions, age, stages):
    models = dataclasses.replace(blind, stages=["normal", *stages])
    shares = [(p, np.array(values[: len(stages)])) for p, values in of_lesions]
    found = analysis([lesion({0: (2, 2, 5, 5)}, values / values.sum(), p) for p, values in shares])
    said = study_stage([found], age, models)
    surgical = sum(value for name, value in said.probabilities.items() if name in SURGICAL)
    others = {name: value for name, value in said.probabilities.items() if name not in SURGICAL}
    assert sum(said.probabilities.values()) == pytest.approx(1, abs=1e-3)
    if said.label is None:
        assert surgical >= max(others.values()) - 1e-3  # they are rounded
    else:
        assert others[said.label] >= max(surgical, *others.values()) - 1e-3


@pytest.mark.parametrize(
    ("age", "label", "note"),
    [(Age.exactly(17), "MS", None), (Age.exactly(18), "M", TOO_OLD_FOR_MS), (None, "M", AGE_UNKNOWN)],
)
def test_study_stage_follows_the_age_rule_and_says_so(blind, age, label, note):
    stage = study_stage([analysis([lesion({0: (2, 2, 5, 5)}, (0, 0, 0.1, 0.9))])], age, blind)
    assert stage.label == label
    assert sum(stage.probabilities.values()) == pytest.approx(1)
    assert [n for n in stage.notes if n in (AGE_UNKNOWN, TOO_OLD_FOR_MS)] == [note] * (note is not None)


def test_patients_stages_are_calibrated(blind):
    models = dataclasses.replace(blind, calibration=Calibration(patient_temperature=0.5))
    stage = study_stage([analysis([lesion({0: (2, 2, 5, 5)}, (0.2, 0.8, 0, 0), 1.0)])], Age.exactly(12), models)
    assert stage.probabilities["L2"] == pytest.approx(0.64 / 0.68, abs=1e-3)


def test_what_only_a_surgeon_can_tell_apart_is_not_suggested(blind):
    models = dataclasses.replace(blind, stages=["normal", "1", "2A", "2B", "3", "4", "4S"])
    local, spread = (lesion({0: (2, 2, 5, 5)}, stages) for stages in ((0.2, 0.6, 0.1, 0.1, 0, 0), (0, 0, 0, 0, 0, 1)))
    stage = study_stage([analysis([local])], Age.exactly(5), models)
    assert stage.label is None and UNDETERMINED in stage.notes
    assert study_stage([analysis([spread])], Age.exactly(5), models).label == "4S"
    assert study_stage([analysis([spread])], Age.exactly(12), models).label == "4"


def test_large_primary_does_not_outvote_its_metastases(blind):
    large = lesion({n: (2, 2, 20, 18) for n in range(3)}, (0, 1, 0, 0), 0.9)
    small = [lesion({0: (2, 2 + 4 * n, 4, 4 + 4 * n)}, (0, 0, 1, 0), 0.9) for n in range(2)]
    assert study_stage([analysis([large, *small])], Age.exactly(30), blind).label == "M"


def test_lesions_of_several_series_weigh_by_their_probability(blind):
    box = {0: (2, 2, 6, 6)}
    found = [analysis([lesion(box, (1, 0, 0, 0), 0.8)]), analysis([lesion(box, (0, 1, 0, 0), 0.2)])]
    shares = study_stage(found, Age.exactly(12), blind).probabilities
    assert shares["L2"] / (1 - shares["normal"]) == pytest.approx(0.2, abs=1e-3)
