"""Every file that pydicom ships for its own tests ends as it should: used, refused by its tag, or ignored."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage

from nbcad.dicom import IGNORED, REFUSED, USED, read_archive, read_pixels

ROOT = Path(pydicom.__file__).parent / "data" / "test_files"
NO_DICOM = (IGNORED, "not a DICOM file (PS3.10)")
DICOMDIR = (IGNORED, "DICOMDIR; the files themselves are read")
OK = (USED, "")


def _class(name: str) -> tuple[str, str]:
    return REFUSED, f"(0008,0016) SOP Class UID is {name}, not MR or Enhanced MR Image Storage"


CT, US, SC = (_class(f"{name} Image Storage") for name in ("CT", "Ultrasound", "Secondary Capture"))
RTDOSE, RTPLAN, NONE = _class("RT Dose Storage"), _class("RT Plan Storage"), _class("missing")

# One line a file; a name that ends in / stands for all that is below it and not named itself.
EXPECTED = {
    "693_J2KI.dcm": CT,
    "CT_small.dcm": CT,
    "ExplVR_BigEnd.dcm": US,
    "ExplVR_BigEndNoMeta.dcm": _class("RT Ion Plan Storage"),  # without preamble, yet it parses
    "ExplVR_LitEndNoMeta.dcm": _class("RT Ion Plan Storage"),
    "GDCMJ2K_TextGBR.dcm": SC,
    "J2K_pixelrep_mismatch.dcm": CT,
    "JPEG-lossy.dcm": SC,
    "JPEG2000-embedded-sequence-delimiter.dcm": SC,
    "JPEG2000.dcm": SC,
    "JPEGLSNearLossless_08.dcm": SC,
    "JPEGLSNearLossless_16.dcm": SC,
    "JPGExtended.dcm": SC,
    "MR_small.dcm": OK,
    "MR_small_RLE.dcm": OK,
    "MR_small_bigendian.dcm": OK,
    "MR_small_expb.dcm": OK,
    "MR_small_implicit.dcm": OK,
    "MR_small_jp2klossless.dcm": OK,
    "MR_small_jpeg_ls_lossless.dcm": OK,
    "MR_small_padded.dcm": OK,
    "MR_truncated.dcm": (REFUSED, "(7FE0,0010) Pixel Data is cut short: 8130 of 8192 bytes"),
    "README.txt": NO_DICOM,
    "SC_jpeg_no_color_transform.dcm": SC,
    "SC_jpeg_no_color_transform_2.dcm": SC,
    "SC_rgb_dcmtk_+eb+cr.dcm": SC,
    "SC_rgb_dcmtk_+eb+cy+n1.dcm": SC,
    "SC_rgb_dcmtk_+eb+cy+n2.dcm": SC,
    "SC_rgb_dcmtk_+eb+cy+np.dcm": SC,
    "SC_rgb_dcmtk_+eb+cy+s2.dcm": SC,
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": SC,
    "SC_rgb_gdcm_KY.dcm": SC,
    "SC_rgb_jls_lossy_line.dcm": SC,
    "SC_rgb_jls_lossy_sample.dcm": SC,
    "SC_rgb_jpeg.dcm": SC,
    "SC_rgb_jpeg_app14_dcmd.dcm": SC,
    "SC_rgb_jpeg_dcmd.dcm": SC,
    "SC_rgb_jpeg_dcmtk.dcm": SC,
    "SC_rgb_jpeg_gdcm.dcm": SC,
    "SC_rgb_jpeg_lossy_gdcm.dcm": SC,
    "SC_rgb_rle.dcm": SC,
    "SC_rgb_rle_16bit.dcm": SC,
    "SC_rgb_rle_16bit_2frame.dcm": SC,
    "SC_rgb_rle_2frame.dcm": SC,
    "SC_rgb_rle_32bit.dcm": SC,
    "SC_rgb_rle_32bit_2frame.dcm": SC,
    "SC_rgb_small_odd.dcm": SC,
    "SC_rgb_small_odd_big_endian.dcm": SC,
    "SC_rgb_small_odd_jpeg.dcm": SC,
    "SC_ybr_full_422_uncompressed.dcm": SC,
    "UN_sequence.dcm": NONE,
    "badVR.dcm": RTDOSE,
    "crayons.icc": NO_DICOM,
    "dicomdirtests/77654033/CR1/": _class("Computed Radiography Image Storage"),
    "dicomdirtests/77654033/CR2/": _class("Computed Radiography Image Storage"),
    "dicomdirtests/77654033/CR3/": _class("Computed Radiography Image Storage"),
    "dicomdirtests/77654033/CT2/": CT,
    "dicomdirtests/98892001/": CT,
    "dicomdirtests/98892003/": OK,
    "dicomdirtests/DICOMDIR": DICOMDIR,
    "dicomdirtests/DICOMDIR-bigEnd": DICOMDIR,
    "dicomdirtests/DICOMDIR-empty.dcm": DICOMDIR,
    "dicomdirtests/DICOMDIR-implicit": DICOMDIR,
    "dicomdirtests/DICOMDIR-nooffset": DICOMDIR,
    "dicomdirtests/DICOMDIR-nopatient": DICOMDIR,
    "dicomdirtests/DICOMDIR-reordered": DICOMDIR,
    "dicomdirtests/README.txt": NO_DICOM,
    "dicomdirtests/TINY_ALPHA/DICOMDIR": DICOMDIR,
    "dicomdirtests/TINY_ALPHA/PT000000/": CT,
    "dicomdirtests/TINY_ALPHA/README": NO_DICOM,
    "empty_charset_LEI.dcm": NONE,
    "examples_jpeg2k.dcm": US,
    "examples_overlay.dcm": OK,
    "examples_palette.dcm": US,
    "examples_rgb_color.dcm": US,
    "examples_ybr_color.dcm": _class("Ultrasound Multi-frame Image Storage"),
    "image_dfl.dcm": SC,
    "liver_1frame.dcm": _class("Segmentation Storage"),
    "liver_expb_1frame.dcm": _class("Segmentation Storage"),
    "meta_missing_tsyntax.dcm": NONE,
    "nested_priv_SQ.dcm": NONE,
    "no_meta.dcm": NO_DICOM,  # begins in the middle of an element
    "no_meta_group_length.dcm": NONE,
    "priv_SQ.dcm": NONE,
    "reportsi.dcm": _class("Basic Text SR Storage"),
    "reportsi_with_empty_number_tags.dcm": _class("Basic Text SR Storage"),
    "rtdose.dcm": RTDOSE,
    "rtdose_1frame.dcm": RTDOSE,
    "rtdose_expb.dcm": RTDOSE,
    "rtdose_expb_1frame.dcm": RTDOSE,
    "rtdose_rle.dcm": RTDOSE,
    "rtdose_rle_1frame.dcm": RTDOSE,
    "rtplan.dcm": RTPLAN,
    "rtplan.dump": NO_DICOM,
    "rtplan_truncated.dcm": RTPLAN,
    "rtstruct.dcm": _class("RT Structure Set Storage"),  # without preamble
    "rtstruct.dump": NO_DICOM,
    "test-SR.dcm": _class("Comprehensive SR Storage"),
    "test1.json": NO_DICOM,
    "test_PN.json": NO_DICOM,
    "waveform_ecg.dcm": _class("12-lead ECG Waveform Storage"),
    "zipMR.gz": NO_DICOM,
}
SHIPPED = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file())
# The same pixels as MR_small.dcm, in other encodings.
SAME = [name for name, expected in EXPECTED.items() if name.startswith("MR_small") and expected == OK]


def _expected(name: str) -> tuple[str, str]:
    if name in EXPECTED:
        return EXPECTED[name]
    (below,) = [folder for folder in EXPECTED if folder.endswith("/") and name.startswith(folder)]
    return EXPECTED[below]


def _pixels(path: Path) -> np.ndarray:
    (series,) = read_archive(path).series
    return read_pixels(series)[1]


def test_table_names_no_file_that_is_not_shipped():
    assert not [key for key in EXPECTED if not any(name == key or name.startswith(key) for name in SHIPPED)]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_file_ends_as_expected(name):
    archive = read_archive(ROOT / name)
    shapes = [read_pixels(series)[1].shape for series in archive.series]
    (record,) = archive.files
    assert (record.status, str(record.reason)) == _expected(name)
    assert len(shapes) == (record.status == USED)


def test_all_of_them_together_are_accounted_for():
    archive = read_archive(ROOT)
    expected = {str(ROOT / name): _expected(name)[0] for name in SHIPPED}
    copies = {str(ROOT / name) for name in SAME if name != "MR_small.dcm"}
    assert {record.path: record.status for record in archive.files} == expected | dict.fromkeys(copies, REFUSED)
    assert all("(0008,0018)" in str(record.reason) for record in archive.files if record.path in copies)


@pytest.mark.parametrize("name", SAME)
def test_lossless_encodings_of_one_image_decode_to_the_same_pixels(name):
    np.testing.assert_array_equal(_pixels(ROOT / name), _pixels(ROOT / "MR_small.dcm"))


@pytest.mark.filterwarnings("ignore:The pixel data is 8320 bytes long")  # MR_small_padded.dcm
@pytest.mark.parametrize("name", [name for name in SHIPPED if _expected(name) == OK])
def test_pixels_are_those_that_pydicom_decodes(name):
    dataset = pydicom.dcmread(ROOT / name)
    np.testing.assert_array_equal(_pixels(ROOT / name)[0], dataset.pixel_array.astype(np.float32))


@pytest.mark.filterwarnings("ignore")  # pydicom tells of what it reads loosely
@pytest.mark.parametrize(
    "name",
    [
        "JPEG2000.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "J2K_pixelrep_mismatch.dcm",  # whose codestream says unsigned and whose header signed
        "693_J2KI.dcm",
        "image_dfl.dcm",
        "CT_small.dcm",
    ],
)
def test_images_of_other_objects_would_be_read_right_if_they_were_mr(name, tmp_path):
    dataset = pydicom.dcmread(ROOT / name)
    expected = pydicom.pixels.apply_rescale(dataset.pixel_array, dataset).astype(np.float32)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, keyword, dataset.get(keyword) or "2.25.1")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.Modality, dataset.PixelSpacing = "MR", [0.5, 0.5]
    dataset.save_as(tmp_path / "x")
    np.testing.assert_array_equal(_pixels(tmp_path / "x")[0], expected)
