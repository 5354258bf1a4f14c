"""Words of names as words, and the weighting that they, image types and physics tell."""

import numpy as np
import pytest

from make_dicom import enhanced, mr_image, write
from nbcad.dicom import read_archive
from nbcad.dicom.weighting import weighting
from nbcad.dicom.words import found_in, words

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.mark.parametrize(
    ("text", "there", "not_there"),
    [
        ("T2 TSE tra HEADCOIL", {"headcoil", "tse"}, {"adc", "coil"}),
        ("AAHead_Scout", {"scout", "head"}, {"ead", "ahead"}),
        ("loc_MPR_cor", {"loc", "mpr", "cor"}, set()),
        ("STIR3mm", {"stir", "stir3mm"}, {"mm"}),
        ("FA15 T2", {"fa15", "t2"}, {"fa"}),
        ("eDWI", {"edwi", "dwi"}, set()),
        ("fMRI", {"fmri"}, set()),
        ("轴位T2压脂", {"轴位", "t2", "压脂"}, set()),
        ("\uff34\uff12_ＴＳＥ", {"t2", "tse"}, set()),  # full-width letters
    ],
)
def test_word_ends_at_signs_capitals_and_digits(text, there, not_there):
    assert there <= words(text) and words(text).isdisjoint(not_there)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Body_Survey", "survey"), ("BODYSURVEY", "bodysurvey"), ("LOCALIZERS 3pl", "localizers"),
        ("3-plane T2", "3 plane"),
        ("T2 三平面定位", "定位"),
        ("T2 localised lesion protocol", ""), ("allocation", ""), ("13 plane", ""),
    ],
)  # fmt: skip
def test_pattern_means_whole_words_and_chinese_ones_anywhere(text, word):
    assert found_in(text, ["*survey", "locali?er*", "3 plane", "定位"]) == word


@pytest.mark.parametrize(
    ("kind", "names"),
    {
        "T2": (
            "AX_T2_FS", "T2 TSE tra HEADCOIL", "T2W_TSE_tra", "t2w", "T2TSE", "t2_tse_tra", "STIR3mm", "eT2W",
            "SagT2Stir", "AXT2", "T23D", "3DT2", "ax_T2", "轴位T2压脂", "t2_tirm_tra_dark-fluid", "T2 FS BROADCAST",
        ),
        "T1": ("eAX_T1_FLAIR", "sT1W_TSE", "t1_vibe_tra", "eTHRIVE", "LAVA-Flex", "T1加权", "T1_FFE", "MPRAGE"),
        "T2*": ("T2*", "T2star", "t2_star", "T2-STAR", "R2*", "SWI", "SWAN", "t2_fl2d_tra_hemo", "T2_FFE",
                "T2 GRE", "磁敏感"),
        "DWI": (
            "eDWI", "DWIBS", "ep2d_diff", "ep2d_diff_b1000", "ax_ep_b800_tra", "b-50", "b=800", "dADC", "ADC map",
            "ADC1000", "DTI 16 dir", "T2 DTI", "dti_tra_dir16", "TRACEW", "弥散加权", "扩散", "resolve_b0_800",
        ),
        "BOLD": ("BOLD", "ep2d_bold_moco", "rfMRI", "FMRI_rest", "静息态"),
        "perfusion": ("ASL", "pCASL_3d", "relCBF", "Perfusion_Weighted", "DSC", "灌注"),
        "PD": ("PD TSE", "pdw_tse_fs", "Proton Density"),
        "EPI": ("ep2d_tra", "EPI"),
        "": ("axial", "POST1 abdomen", "iPAT2 abdomen", "REST2", "T12-L5", "HEADCOIL", "Cadence", "different"),
    }.items(),
)  # fmt: skip
def test_names_tell_the_weighting_by_their_words(kind, names):
    assert {name: weighting({}, name, None) for name in names} == dict.fromkeys(names, kind)


@pytest.mark.parametrize(
    ("header", "name", "kind"),
    [
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], "EchoTime": 116, "RepetitionTime": 6000},
            "",
            "DWI",
        ),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSIONLESS"]}, "T2", "T2"),
        ({"ImageType": "PERFUSION"}, "T2", "perfusion"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ASL", "RCBF"]}, "", "perfusion"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "FMRI", "NONE"]}, "ep2d", "BOLD"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "T2_STAR", "NONE"]}, "T2", "T2*"),
        ({"AcquisitionContrast": "T2_STAR"}, "T2", "T2*"),
        ({"AcquisitionContrast": "PROTON_DENSITY"}, "", "PD"),
        ({"SequenceName": "*ep_b0"}, "T2", "DWI"),
        # Gradient echoes with a long echo time, whatever their name.
        ({"ScanningSequence": ["GR"], "EchoTime": 20, "RepetitionTime": 600}, "T2 tra", "T2*"),
        ({"ScanningSequence": "GR", "EchoTime": 20, "RepetitionTime": 600}, "tra", "T2*"),
        ({"EchoPulseSequence": "GRADIENT", "EchoTime": 20}, "T2 tra", "T2*"),
        ({"ScanningSequence": ["GR"], "EchoTime": 2}, "T2 trufi", "T2"),
        ({"ScanningSequence": ["GR", "IR"], "EchoTime": 2.3, "RepetitionTime": 1900}, "tra", "T1"),
        ({"ScanningSequence": ["SE"], "EchoTime": 90, "RepetitionTime": 3000}, "tra", "T2"),
        ({"ScanningSequence": ["SE", "GR"], "EchoTime": 90, "RepetitionTime": 3000}, "T2 grase", "T2"),
        # Echo-planar images of no name are not known to be T2 by their times.
        ({"ScanningSequence": ["EP", "SE"], "EchoTime": 90, "RepetitionTime": 3000}, "tra", "EPI"),
        ({"EchoPlanarPulseSequence": "YES", "EchoTime": 90, "RepetitionTime": 3000}, "tra", "EPI"),
        ({"EchoTime": 15}, "PD T2 dual", "PD"),
        ({"EchoTime": 90}, "PD T2 dual", "T2"),
    ],
)
def test_image_type_and_physics_tell_the_weighting(header, name, kind):
    assert weighting(header, name, None) == kind


def test_series_without_description_goes_by_the_name_of_its_protocol(tmp_path):
    write(mr_image(PIXELS, SeriesDescription="", ProtocolName="dti_tra"), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    assert (series.description, series.weighting) == ("dti_tra", "DWI")


def test_frame_type_of_each_frame_and_image_type_of_the_object_are_read(tmp_path, rng):
    kinds = (["ORIGINAL", "PRIMARY", "T2", "NONE"], ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])
    dataset = enhanced([mr_image(rng.integers(0, 900, (3, 4)), SeriesDescription="", ImageType=kind) for kind in kinds])
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.MRImageFrameTypeSequence[0].ComplexImageComponent = "MAGNITUDE"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "METABOLITE_MAP", "MIXED"]
    write(dataset, tmp_path / "x")
    found = {series.weighting: series.image_types for series in read_archive(tmp_path).series}
    common = ("METABOLITE MAP", "MIXED", "MAGNITUDE")
    assert found == {
        "": ("ORIGINAL", "PRIMARY", "T2", "NONE", *common),
        "DWI": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ORIGINAL", *common),
    }
