import csv
from collections import Counter
from dataclasses import replace
from datetime import date

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from nbcad.annotation.annotations import read_annotations
from nbcad.datasets import phantom
from nbcad.datasets.phantom.acquisition import plan
from nbcad.datasets.phantom.dicom_writer import store
from nbcad.datasets.phantom.lesions import SITE_SHARES, STAGE_SHARES
from nbcad.datasets.phantom.physics import Sequence, Tissue, Tissues, signal
from nbcad.datasets.phantom.scanners import SCANNERS
from nbcad.dicom import read_archive, read_pixels
from nbcad.dicom.age import read_age
from nbcad.errors import InputError

SLICES = 14

# DICOM PS3.3 table A.4-1, mandatory modules: what has a value (type 1, and type 1C where its condition holds), and what
# may be empty (type 2).
TYPE_1 = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelData", "ScanningSequence", "SequenceVariant",
)  # fmt: skip
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "SeriesNumber", "PatientPosition", "PositionReferenceIndicator", "Manufacturer",
    "InstanceNumber", "SliceThickness", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime",
    "EchoTrainLength",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five patients, one for each vendor; two of them are normal."""
    out = tmp_path_factory.mktemp("phantom") / "five"
    phantom.generate(out, 5, seed=7, workers=1, max_slices=SLICES)
    return out


@pytest.fixture(scope="module")
def headers(made):
    """Headers and pixels of all their files."""
    return [pydicom.dcmread(p) for p in (made / "dicom").rglob("*") if p.is_file()]


@pytest.fixture(scope="module")
def study():
    """One study of a large tumour, in a few slices."""
    patient = next(p for p in phantom.list_patients(5, seed=7) if p.stage == "L2")
    return phantom.make_study(patient, max_slices=10)


def _bytes(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _patients(made):
    with (made / "patients.csv").open() as file:
        return list(csv.DictReader(file))


def test_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    for workers in (1, 2):
        phantom.generate(tmp_path / str(workers), 2, seed=5, workers=workers, max_slices=4)
    assert _bytes(tmp_path / "1") == _bytes(tmp_path / "2")


def test_every_image_is_annotated_read_and_marked_as_a_phantom(made):
    archive = read_archive(made / "dicom")
    assert {f.status for f in archive.files} == {"used"}
    assert all(series.phantom and series.plane == "axial" and series.age is not None for series in archive.series)
    uids = {(s.sop_uid, 0) for series in archive.series for s in series.slices}
    assert uids == set(read_annotations(made / "annotations.csv"))


def test_files_are_valid_mr_image_storage(headers):
    for header in headers:
        assert header.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert header.file_meta.MediaStorageSOPClassUID == header.SOPClassUID == MRImageStorage
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
        assert not [keyword for keyword in TYPE_1 if keyword not in header or header[keyword].is_empty]
        assert not [keyword for keyword in TYPE_2 if keyword not in header]
        assert not [element.tag for element in header if element.tag.is_private]
        assert header.HighBit == header.BitsStored - 1 and header.BitsAllocated == 16
        stored = np.frombuffer(header.PixelData, "<u2")
        assert stored.size == header.Rows * header.Columns
        assert stored.max() < 2 ** (header.BitsStored - header.PixelRepresentation)  # no signal is negative
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)
    shared = {(header.PatientID, header.StudyInstanceUID, header.FrameOfReferenceUID) for header in headers}
    assert [len(set(values)) for values in zip(*shared, strict=True)] == [len(shared)] * 3  # one of each for a patient


def test_each_study_has_t2_t1_and_diffusion_with_even_steps(made):
    archive = read_archive(made / "dicom")
    weightings = Counter((s.patient_id, s.weighting) for s in archive.series)
    assert {w for _, w in weightings} == {"T1", "T2", "DWI"}
    assert all(count == (2 if w == "DWI" else 1) for (_, w), count in weightings.items())
    for series in archive.series:
        places = [s.geometry.position @ s.geometry.normal for s in series.slices]
        np.testing.assert_allclose(np.diff(places), series.slice_step_mm, atol=0.02)


def test_diffusion_has_one_series_without_and_one_with_weighting(headers):
    series = {header.SeriesInstanceUID: header for header in headers}.values()
    b_values = Counter((header.PatientID, header.get("DiffusionBValue")) for header in series)
    patients = {header.PatientID for header in headers}
    assert b_values == {(p, b): 2 if b is None else 1 for p in patients for b in (None, 0.0, 1000.0)}


def test_patient_table_agrees_with_the_headers(made, headers):
    by_patient = {header.PatientID: header for header in headers}
    ages = {series.patient_id: series.age.months for series in read_archive(made / "dicom").series}
    rows = _patients(made)
    assert {row["patient_id"] for row in rows} == set(by_patient)
    for row in rows:
        header, age = by_patient[row["patient_id"]], int(row["age_months"])
        assert header.Manufacturer == SCANNERS[row["vendor"]].manufacturer
        assert header.PatientSex == row["sex"]
        stated = read_age(header.PatientAge)
        assert stated.least_months <= age <= stated.most_months  # a year's months in older children
        assert age - 1 <= ages[row["patient_id"]] <= age  # by the dates, as months differ in length
        lived = date.fromisoformat(header.StudyDate) - date.fromisoformat(header.PatientBirthDate)
        assert age <= lived.days / 30.4 < age + 2


def test_patients_have_the_lesions_of_their_stage(made, headers):
    annotations = read_annotations(made / "annotations.csv")
    found = {row["patient_id"]: set() for row in _patients(made)}
    for header in headers:
        annotation = annotations[header.SOPInstanceUID, 0]
        assert annotation.lesions_known
        found[header.PatientID] |= {stage for stage, _ in annotation.lesions}
    stages = {row["patient_id"]: row["stage"] for row in _patients(made)}
    assert found == {patient: set() if stage == "normal" else {stage} for patient, stage in stages.items()}
    assert "normal" in stages.values()


def test_number_and_kind_of_lesions_follow_the_stage():
    names = {}
    for patient in phantom.list_patients(8, seed=7):
        if patient.stage not in names:
            anatomy = phantom.make_anatomy(patient)
            assert set(np.unique(anatomy.lesions)) == set(range(len(anatomy.lesion_names) + 1))
            names[patient.stage] = anatomy.lesion_names
    assert names["normal"] == []
    assert names["L1"] == names["L2"] == ["primary"]
    assert names["M"][0] == "primary" and len(names["M"]) > 2 and "liver nodule" not in names["M"]
    assert names["MS"][0] == "primary" and len(names["MS"]) > 2 and set(names["MS"][1:]) == {"liver nodule"}


def test_lesions_are_brighter_than_the_median_body_on_t2(made):
    annotations = read_annotations(made / "annotations.csv")
    seen = 0
    for series in read_archive(made / "dicom").series:
        if series.weighting != "T2":
            continue
        for image, pixels in zip(*read_pixels(series), strict=True):
            for _, (row0, col0, row1, col1) in annotations[image.sop_uid, 0].lesions:
                inside = pixels[int(row0) : int(row1), int(col0) : int(col1)]
                assert inside.max() > 1.3 * np.median(pixels[pixels > 0.1 * pixels.max()])
                seen += 1
    assert seen > 3


def test_tumour_outshines_fluid_on_diffusion_and_only_there():
    def tumour_to_urine(*sequence):
        bright = signal(Tissues.typical(), Sequence("SE", *sequence), field_tesla=1.5)
        return bright[Tissue.TUMOUR] / bright[Tissue.URINE]

    assert tumour_to_urine(5000, 80, 90, 0) < 1 < tumour_to_urine(5000, 80, 90, 1000)
    assert tumour_to_urine(520, 11) > 1.5  # fluid is dark on T1


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_rows", [False, True])
@pytest.mark.parametrize("flip_columns", [False, True])
def test_boxes_lie_where_the_anatomy_has_the_lesion(study, tmp_path, transposed, flip_rows, flip_columns):
    turned = _turned(study, transposed, (flip_rows, flip_columns))
    boxes = {row[0]: row[4:] for row in phantom.write_study(turned, tmp_path / "study") if row[3] != "normal"}
    off = []
    for series in read_archive(tmp_path / "study").series:
        if series.weighting != "DWI":  # echo-planar images are bent
            off += [np.subtract(boxes[s.sop_uid], _lesion_box(study, s)) for s in series.slices if s.sop_uid in boxes]
    off = np.array(off)  # pixels: row0, col0, row1, col1
    assert len(off) > 3
    np.testing.assert_allclose(off, 0, atol=3)  # not exact: an annotated lesion fills both halves of the slice
    np.testing.assert_allclose((off[:, :2] + off[:, 2:]).mean(axis=0) / 2, 0, atol=0.4)  # no shift by a pixel


def _turned(study, transposed, flips):
    return replace(study, scan=replace(study.scan, transposed=transposed, flips=flips))


def _lesion_box(study, image):
    """Box of the lesion's voxels in one image, by the image's header and the scan's place in the anatomy."""
    rows, columns = np.mgrid[: image.rows, : image.columns][..., None]
    plane = image.geometry
    points = (
        plane.position
        + rows * plane.row_spacing * plane.along_column
        + columns * plane.column_spacing * plane.along_row
    )
    anatomy, scan = study.anatomy, study.scan
    places = ((points - scan.offset) @ scan.patient_to_anatomy.T)[..., ::-1]  # z, y, x
    index = np.round((places - anatomy.origin) / anatomy.step).astype(int).clip(0, np.array(anatomy.labels.shape) - 1)
    rows, columns = np.nonzero(anatomy.lesions[tuple(np.moveaxis(index, -1, 0))])
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_vendors_store_differently_what_reads_alike(study, tmp_path):
    canonical, encodings = _turned(study, False, (False, False)), set()
    for vendor in SCANNERS:
        phantom.write_study(replace(canonical, patient=replace(study.patient, vendor=vendor)), tmp_path / vendor)
        (series,) = (s for s in read_archive(tmp_path / vendor).series if s.weighting == "T2")
        slices, pixels = read_pixels(series)
        header = pydicom.dcmread(slices[0].source.path)
        encodings.add((header.PixelRepresentation, header.BitsStored, header.get("RescaleSlope")))
        relative = pixels / float(header.WindowWidth)
        _, images = study.series[0]
        np.testing.assert_allclose(relative.clip(max=1.5), images.pixels.clip(max=1.5), atol=0.003)  # far from clipping
    signs, bits, slopes = map(set, zip(*encodings, strict=True))
    assert signs == {0, 1} and bits == {12, 16} and None in slopes and len(slopes - {None, 1.0}) == 1


@pytest.mark.parametrize("vendor", SCANNERS)
def test_signal_beyond_the_stored_bits_is_clipped(vendor):
    scanner = SCANNERS[vendor]
    darkest, brightest = store(np.array([0, 1e6], np.float32), scanner, scanner.top[0])
    assert darkest == 0 and brightest == 2 ** (scanner.bits_stored - scanner.signed) - 1


def test_shares_of_stages_sites_and_vendors_hold_at_every_length():
    for length in (10, 37, 100):
        people = phantom.list_patients(length, seed=1)
        stages = Counter(person.stage for person in people)
        assert set(stages) == set(STAGE_SHARES)
        assert all(abs(stages[stage] - share * length) < 2 for stage, share in STAGE_SHARES.items())
        for stage in stages:
            vendors = Counter(person.vendor for person in people if person.stage == stage)
            assert max(vendors.values()) - min(vendors.get(v, 0) for v in SCANNERS) <= 1
            sites = Counter(person.site for person in people if person.stage == stage)
            wanted = {"": 1.0} if stage == "normal" else SITE_SHARES
            assert all(abs(sites[site] - share * stages[stage]) < 2 for site, share in wanted.items())


def test_ms_is_given_to_infants_only():
    ages = [person.child().age_months for person in phantom.list_patients(200, seed=2) if person.stage == "MS"]
    assert len(ages) > 20 and max(ages) < 18


def test_vendors_can_be_left_out(tmp_path):
    phantom.generate(tmp_path / "x", 1, seed=7, vendors=("canon",), workers=1, max_slices=2)
    makers = {pydicom.dcmread(p).Manufacturer for p in (tmp_path / "x" / "dicom").rglob("*") if p.is_file()}
    assert makers == {SCANNERS["canon"].manufacturer}
    with pytest.raises(InputError, match="nobody"):
        phantom.generate(tmp_path / "y", 1, seed=1, vendors=("nobody",))


def test_orientations_orders_and_sizes_vary(study, made):
    scans = [plan(study.anatomy, np.random.default_rng(seed), SLICES) for seed in range(60)]
    assert len({(scan.transposed, scan.flips) for scan in scans}) > 5
    assert len({(scan.descending, scan.shuffled) for scan in scans}) == 4
    assert len({scan.field_mm[0] / scan.field_mm[1] for scan in scans}) > 2
    assert len({series.slices[0].rows for series in read_archive(made / "dicom").series}) > 4
