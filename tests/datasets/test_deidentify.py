import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage

from make_dicom import write
from make_identifying import SECRET_TEXTS, identifying_image
from nbcad import cli
from nbcad.annotation.annotations import read_annotations
from nbcad.datasets import deidentify, phantom
from nbcad.datasets.confidentiality_profile import Secrets
from nbcad.datasets.deidentify import Tables
from nbcad.dicom import REFUSED, USED, read_archive, read_pixels
from nbcad.errors import InputError, OutputExistsError
from repository import run_tool

GEOMETRY = (
    "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "PhotometricInterpretation",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A phantom of three patients and its de-identified copy, by the tool."""
    folder = tmp_path_factory.mktemp("deidentify")
    phantom.generate(folder / "phantom", 3, seed=7, workers=1, max_slices=6)
    done = run_tool(
        "deidentify", folder / "phantom" / "dicom", "--out", folder / "copy", "--key", folder / "key",
        "--annotations", folder / "phantom" / "annotations.csv", "--keep-characteristics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def copies(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def run(source: Path, out: Path, **options):
    given = {"key": out.parent / "key", "tables": Tables(), "keep_characteristics": False, "force": False}
    return deidentify.deidentify(source, out, **(given | options))


def test_nothing_that_names_the_patient_is_left_in_the_bytes(tmp_path, pixels):
    path = write(identifying_image(pixels), tmp_path / "in" / "Musterfrau_Erika" / "KH-4711-0815.dcm")
    before = path.read_bytes()
    assert [text for text in SECRET_TEXTS if text.encode() not in before] == []
    files, _ = run(tmp_path / "in", tmp_path / "out")
    assert [record.status for record in files] == [USED]
    (copy,) = copies(tmp_path / "out")
    after = copy.read_bytes()
    assert [text for text in SECRET_TEXTS if text.lower().encode() in after.lower()] == []
    assert not re.search("muster|erika|kh|4711-?0815", str(copy.relative_to(tmp_path / "out")).lower())
    assert path.read_bytes() == before


def test_preamble_and_trailing_padding_are_not_copied(tmp_path, pixels):
    image = identifying_image(pixels)
    image.preamble = b"Musterfrau".ljust(128)
    image.add_new(0xFFFCFFFC, "OB", b"Musterfrau")
    write(image, tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    assert b"Musterfrau" not in copies(tmp_path / "out")[0].read_bytes()


def test_references_between_objects_hold(tmp_path, pixels):
    first, second = identifying_image(pixels), identifying_image(pixels)
    second.ReferencedImageSequence[0].ReferencedSOPInstanceUID = first.SOPInstanceUID
    for name, image in (("a", first), ("b", second)):
        write(image, tmp_path / "in" / name)
    run(tmp_path / "in", tmp_path / "out")
    read = [pydicom.dcmread(path) for path in copies(tmp_path / "out")]
    assert {image.file_meta.MediaStorageSOPInstanceUID for image in read} == {image.SOPInstanceUID for image in read}
    referred = {image.ReferencedImageSequence[0].ReferencedSOPInstanceUID for image in read}
    assert referred & {image.SOPInstanceUID for image in read}
    assert len({(i.PatientID, i.StudyInstanceUID, i.SeriesInstanceUID, i.FrameOfReferenceUID) for i in read}) == 1


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, r"\(0028,0301\) Burned In Annotation is YES"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, r"\(0008,0016\) SOP Class UID is Secondary Capture"),
        ({"ConversionType": "WSD"}, r"\(0008,0064\) Conversion Type is WSD"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, r"\(0008,0008\) Image Type"),
        ({"SeriesInstanceUID": ""}, r"\(0020,000E\) Series Instance UID is missing"),
    ],
)
def test_object_that_may_show_the_patient_is_refused_by_tag(tmp_path, pixels, elements, reason):
    image = identifying_image(pixels)
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    write(image, tmp_path / "in" / "a")
    files, _ = run(tmp_path / "in", tmp_path / "out")
    assert files[0].status == REFUSED and re.match(reason, str(files[0].reason))
    assert copies(tmp_path / "out") == []


def test_every_file_of_a_mixed_folder_is_accounted_for(tmp_path):
    """All that pydicom ships: images of every kind, broken files, files that are no DICOM."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    done = run_tool("deidentify", root, "--out", tmp_path / "out", "--key", tmp_path / "key")
    assert done.returncode == cli.PARTLY_REFUSED, done.stderr
    lines = done.stdout.splitlines()
    given = [p for p in root.rglob("*") if p.is_file()]
    refused = {line.split(": ")[1] for line in lines if line.startswith("refused: ")}
    assert len(copies(tmp_path / "out")) + len(refused) == len(given) and len(copies(tmp_path / "out")) > 10
    assert refused < {str(p) for p in given}
    assert "Traceback" not in done.stderr


def test_file_that_cannot_be_written_anew_is_refused_and_leaves_nothing(tmp_path, pixels, monkeypatch):
    def malformed(*_, **__):
        raise ValueError("an element cannot be encoded")

    write(identifying_image(pixels), tmp_path / "in" / "a")
    monkeypatch.setattr(pydicom.Dataset, "save_as", malformed)
    files, _ = run(tmp_path / "in", tmp_path / "out")
    assert files[0].status == REFUSED and "cannot be encoded" in str(files[0].reason)
    assert not copies(tmp_path / "out")


def test_pixels_and_geometry_stay_bit_for_bit(made, tmp_path, pixels):
    before = {secrets_of(made).uid(image.SOPInstanceUID): image for image in _read(made / "phantom" / "dicom")}
    after = {image.SOPInstanceUID: image for image in _read(made / "copy" / "dicom")}
    assert after.keys() == before.keys()
    for uid, image in after.items():
        assert image.PixelData == before[uid].PixelData
        for keyword in GEOMETRY:
            assert image.get(keyword) == before[uid].get(keyword), keyword
    compressed = identifying_image(pixels.astype(np.uint16))
    compressed.compress(RLELossless, generate_instance_uid=False)
    write(compressed, tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    (copy,) = _read(tmp_path / "out")
    assert (copy.PixelData, copy.file_meta.TransferSyntaxUID) == (compressed.PixelData, RLELossless)


def secrets_of(made: Path) -> Secrets:
    return Secrets((made / "key").read_bytes())


def _read(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(p) for p in folder.rglob("*") if p.is_file() and p.suffix != ".csv"]


def test_copy_gives_the_same_series_as_the_original(made):
    secrets = secrets_of(made)

    def told(folder, uid):
        archive = read_archive(folder)
        assert {record.status for record in archive.files} == {USED}
        return {
            uid(series.series_uid): (
                series.weighting, series.plane, series.age, series.phantom, series.slice_step_mm,
                [uid(image.sop_uid) for image in series.slices], read_pixels(series)[1].tobytes(),
            )
            for series in archive.series
        }  # fmt: skip

    assert told(made / "copy" / "dicom", str) == told(made / "phantom" / "dicom", secrets.uid)


def test_annotations_are_copied_for_the_new_uids(made):
    before = read_annotations(made / "phantom" / "annotations.csv")
    after = read_annotations(made / "copy" / "annotations.csv")
    assert after == {(secrets_of(made).uid(uid), frame): known for (uid, frame), known in before.items()}
    assert {uid for uid, _ in after} <= {image.SOPInstanceUID for image in _read(made / "copy" / "dicom")}


def test_rows_without_a_copy_and_needless_columns_are_left_out(tmp_path, pixels):
    image, burned = identifying_image(pixels), identifying_image(pixels, BurnedInAnnotation="YES")
    rows = [f"{i.SOPInstanceUID},0,thorax,normal,,,,\n" for i in (image, burned)]
    (tmp_path / "a.csv").write_text("sop_uid,frame,organ,stage,row0,col0,row1,col1\n" + "".join(rows))
    (tmp_path / "p.csv").write_text("name,patient_id,stage\nErika,KH-4711-0815,L2\nErik,KH-99,M\n")
    for name, dataset in (("a", image), ("b", burned)):
        write(dataset, tmp_path / "in" / name)
    _, left_out = run(tmp_path / "in", tmp_path / "out", tables=Tables(tmp_path / "a.csv", tmp_path / "p.csv"))
    assert left_out == {"annotations.csv": 1, "patients.csv": 1}
    assert len(read_annotations(tmp_path / "out" / "annotations.csv")) == 1
    (copy,) = _read(tmp_path / "out" / "dicom")
    assert (tmp_path / "out" / "patients.csv").read_text() == f"patient_id,stage\n{copy.PatientID},L2\n"


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs Debian's dicom3tools")
def test_dciodvfy_finds_no_error_in_copies_of_the_phantom(made):
    by_series = {path.parent: path for path in copies(made / "copy")}
    assert len(by_series) > 6
    for path in by_series.values():
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in told.stderr + told.stdout, told.stderr


def test_key_is_made_once_for_its_owner_only_and_never_among_the_copies(tmp_path, pixels):
    write(identifying_image(pixels), tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    key = (tmp_path / "key").read_bytes()
    assert len(key) == 32 and (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    names = [path.name for path in copies(tmp_path / "out")]
    with pytest.raises(OutputExistsError):
        run(tmp_path / "in", tmp_path / "out")
    run(tmp_path / "in", tmp_path / "out", force=True)
    assert [path.name for path in copies(tmp_path / "out")] == names and (tmp_path / "key").read_bytes() == key
    with pytest.raises(InputError, match="lies in the folder of the copies"):
        run(tmp_path / "in", tmp_path / "other", key=tmp_path / "other" / "key")
    (tmp_path / "short").write_bytes(b"1234")
    with pytest.raises(InputError, match="has 4 bytes"):
        run(tmp_path / "in", tmp_path / "other", key=tmp_path / "short")
