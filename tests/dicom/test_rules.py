import pytest

from nbcad.dicom import Series
from nbcad.dicom.rules import Decision, decide, read_rules
from nbcad.errors import InputError
from nbcad.language.message import EMPTY

GOOD = '[[take]]\nname = "x"\n'


def _series(**facts) -> Series:
    known = {"study_uid": "1", "series_uid": "2", "patient_id": "P", "age": None, "description": "T2 ax"}
    return Series(**known | {"weighting": "T2", "plane": "axial", "phantom": False, "slices": [None] * 4} | facts)


def _rules(tmp_path, text):
    (tmp_path / "rules.toml").write_text(text)
    return read_rules(tmp_path / "rules.toml")


@pytest.mark.parametrize(
    ("facts", "taken"),
    [
        ({}, True),
        ({"weighting": "", "plane": ""}, True),
        ({"weighting": "T1"}, False),
        ({"weighting": "DWI"}, False),
        ({"plane": "coronal"}, False),
        ({"description": "T2 localizer"}, False),
        ({"description": "Scout"}, False),
    ],
)
def test_shipped_rules_take_axial_t2_and_what_the_header_does_not_tell(facts, taken):
    decision = decide(_series(**facts), read_rules())
    assert (str(decision.reason) == "") == taken
    assert decision.rule == "axial T2"


@pytest.mark.parametrize(
    "description",
    [
        "AAHead_Scout", "Survey_MST", "loc_MPR_cor", "T2_LOC", "AAHSCOUT", "3-plane", "Asset Calibration", "三平面定位",
        "T2_MIP", "T2 map", "T2MAP", "MIP2 T2", "T2 Subtraction", "t2_tse_tra_P_320", "T2_PHA", "T2 phase images",
    ],
)  # fmt: skip
def test_shipped_rules_exclude_localisers_maps_and_phases_by_their_names(description):
    assert "is excluded" in str(decide(_series(description=description), read_rules()).reason)


@pytest.mark.parametrize(
    "description",
    [
        "T2 TSE tra HEADCOIL", "t2_tse_tra_p2", "T2 allocated", "T2_A_P_tra", "T2_tse_dixon_in_phase", "轴位T2压脂",
        "T2 respiratory phase", "t2_tse_tra_msma_5 STK", "T2 FA150 PAT2", "",
    ],
)  # fmt: skip
def test_shipped_rules_take_names_that_only_look_like_these(description):
    assert str(decide(_series(description=description), read_rules()).reason) == ""


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("METABOLITE MAP", False), ("T2 MAP", False), ("MIP", False), ("SUBTRACTION", False),
        ("PROJECTION IMAGE", False), ("P", False), ("PHASE MAP", False), ("P SE", False), ("LOCALIZER", False),
        ("PRIMARY", True), ("MAPPED", True), ("NORM", True), ("MPR", True), ("COMPOSED", True), ("M SE", True),
    ],
)  # fmt: skip
def test_shipped_rules_compare_image_types_as_values(value, taken):
    reason = str(decide(_series(image_types=("DERIVED", value, "NONE")), read_rules()).reason)
    assert reason == ("" if taken else f"rule 'axial T2': (0008,0008) Image Type has {value}, which is excluded")


@pytest.mark.parametrize(
    ("condition", "facts", "reason"),
    [
        ('weighting = ["T1"]', {}, "weighting is T2, not T1"),
        ('plane = ["coronal", "sagittal"]', {}, "plane is axial, not coronal or sagittal"),
        ("b_value = [0, 50]", {"b_value": 50.0}, ""),
        ("b_value = [0, 50]", {"b_value": 1000.0}, "b-value is 1000 s/mm2, not 0 to 50"),
        ("b_value = [0, 50]", {}, "b-value is not known, not 0 to 50"),
        ("description = 'tse|fse'", {"description": "Ax T2 FSE"}, ""),
        ("description = 'tse|fse'", {}, "description 'T2 ax' does not match 'tse|fse'"),
        ("exclude = 'ax$'", {}, "description 'T2 ax' matches 'ax$', which is excluded"),
        (
            "exclude_words = ['Scout', 't2 tse']",
            {"description": "AAHead_Scout"},
            "description 'AAHead_Scout' has the word scout, which is excluded",
        ),
        (
            "exclude_words = ['Scout', 't2 tse']",
            {"description": "t2_TSE"},
            "description 't2_TSE' has the word t2 tse, which is excluded",
        ),
        ("exclude_words = ['adc']", {"description": "HEADCOIL"}, ""),
        (
            "exclude_image_types = ['phase_map', '* STAR']",
            {"image_types": ("ORIGINAL", "T2 STAR")},
            "(0008,0008) Image Type has T2 STAR, which is excluded",
        ),
        ("exclude_image_types = ['MAP']", {"image_types": ("ORIGINAL", "PHASE MAP")}, ""),
        ("min_slices = 5", {}, "4 slices are fewer than 5"),
        ("min_slices = 4", {}, ""),
    ],
)
def test_every_condition_takes_or_refuses_with_its_reason(tmp_path, condition, facts, reason):
    decision = decide(_series(**facts), _rules(tmp_path, GOOD + condition))
    assert str(decision.reason) == (f"rule 'x': {reason}" if reason else "")


def test_series_is_taken_by_the_first_rule_that_does_and_refused_by_all(tmp_path):
    rules = _rules(tmp_path, '[[take]]\nname = "a"\nweighting = ["T1"]\n[[take]]\nname = "b"\nmin_slices = 2\n')
    assert decide(_series(), rules) == Decision("b", EMPTY)
    refused = decide(_series(slices=[]), rules)
    assert (
        refused.rule == "a; b"
        and "rule 'a': weighting" in str(refused.reason)
        and "rule 'b': 0 slices" in str(refused.reason)
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "take"),
        ("take = 1", "take"),
        (GOOD + "colour = 1", "'colour'"),
        ("[other]\n" + GOOD, "'other'"),
        ("[[take]]\nmin_slices = 1", "'name'"),
        ('[[take]]\nname = ""', "'name'"),
        (GOOD + 'weighting = "T2"', "'weighting'"),
        (GOOD + 'weighting = ["T3"]', "'weighting'"),
        (GOOD + "plane = [1]", "'plane'"),
        (GOOD + "b_value = [50, 0]", "'b_value'"),
        (GOOD + 'b_value = ["a", "b"]', "'b_value'"),
        (GOOD + "b_value = 5", "'b_value'"),
        (GOOD + "description = '('", "'description'"),
        (GOOD + "exclude = 3", "'exclude'"),
        (GOOD + "exclude_words = 'loc'", "'exclude_words'"),
        (GOOD + "exclude_words = ['']", "'exclude_words'"),
        (GOOD + "exclude_image_types = [1]", "'exclude_image_types'"),
        (GOOD + "min_slices = 0", "'min_slices'"),
        (GOOD + "min_slices = true", "'min_slices'"),
        (GOOD + GOOD, "one name"),
        ("[[take", "no TOML"),
    ],
)
def test_malformed_rules_are_one_error_that_names_file_and_key(tmp_path, text, key):
    with pytest.raises(InputError) as error:
        _rules(tmp_path, text)
    assert key in str(error.value) and "rules.toml" in str(error.value) and "\n" not in str(error.value)


def test_missing_rules_are_one_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml"):
        read_rules(tmp_path / "none.toml")
