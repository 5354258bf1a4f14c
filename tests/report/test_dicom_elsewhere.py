"""DICOM objects read by other software: dicom3tools, dcmtk, Orthanc, and nbcad itself."""

import json
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest

from make_analysis import SUITABLE, report_of
from make_archive import ORTHANC, ask, orthanc
from make_dicom import enhanced, write
from make_objects import LESIONS, image_of_study, no_error_by_dciodvfy, only_series, write_objects
from nbcad.dicom import IGNORED, read_archive
from nbcad.inference import suitability
from nbcad.report import DicomWriter
from nbcad.report.entries import software


def _told(*command) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def objects(blind, eager, tmp_path_factory) -> Path:
    """Objects of a classic and of an Enhanced series with lesions, and of one without."""
    root = tmp_path_factory.mktemp("objects")
    for number, (name, models) in enumerate((("classic", eager), ("enhanced", eager), ("clean", blind))):
        uids = {"StudyInstanceUID": f"2.25.{number + 20}", "SeriesInstanceUID": f"2.25.{number + 30}"}
        images = [image_of_study(n, **uids) for n in range(3)]
        for n, image in enumerate([enhanced(images)] if name == "enhanced" else images):
            write(image, root / "in" / name / str(n))
        made = write_objects(root / "in" / name, models, root / name, LESIONS[:1] if models is eager else None)
        for file in only_series(made).dicom:
            shutil.copy(root / name / file, root / f"{name}-{file}")
    return root


needs = {
    tool: pytest.mark.skipif(not (shutil.which(tool) or Path(tool).exists()), reason=f"needs Debian's {package}")
    for tool, package in (("dciodvfy", "dicom3tools"), ("dsrdump", "dcmtk"), (ORTHANC, "orthanc"))
}


@needs["dciodvfy"]
def test_dciodvfy_finds_no_error(objects):
    for path in objects.glob("*.dcm"):
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told, f"{path.name}: {told}"


@needs["dciodvfy"]
def test_dciodvfy_finds_no_error_in_objects_of_other_peoples_images(eager, tmp_path, monkeypatch):
    """All MR images among pydicom's test files: whatever their headers lack."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("MR_small.dcm", "examples_overlay.dcm", "dicomdirtests/98892003"):
        source = root / name
        copy = tmp_path / "in" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    monkeypatch.setattr(suitability, "of_series", lambda *_: SUITABLE)  # they are of adults, and in other planes
    uids = {series.series_uid for series in read_archive(tmp_path / "in").series}
    for number, uid in enumerate(sorted(uids)):
        writer = DicomWriter(software(eager), tmp_path / f"out{number}")
        report = report_of(tmp_path / "in", eager, writer.write, uid)
        found = [s for study in report.studies for s in study.series if s.status == "analysed"]
        assert found and all(s.dicom for s in found)
        no_error_by_dciodvfy(tmp_path / f"out{number}")
    assert len(uids) >= 9


@needs["dsrdump"]
def test_dsrdump_reads_the_report_and_its_boxes(objects):
    told = _told("dsrdump", "+Pl", objects / "classic-0001.sr.dcm")
    for words in ("Comprehensive 3D SR", "UNVERIFIED", '"Lesion 1"', "POLYLINE,5/3,17/3,17/21,5/21,5/3", "C13342"):
        assert words in told, told
    for path in objects.glob("*.sr.dcm"):
        _told("dsrdump", path)


@needs[ORTHANC]
@needs["dsrdump"]
def test_orthanc_takes_the_objects_and_gives_them_back_unchanged(objects, tmp_path):
    """By REST the same bytes; by C-STORE, where the sender writes the file's meta information, the same data set."""
    files = sorted(objects.glob("*.dcm"))
    with orthanc(tmp_path) as (address, port):
        for path in files:
            stored = json.loads(ask(f"{address}/instances", path.read_bytes()))
            assert stored["Status"] == "Success"
            assert ask(f"{address}/instances/{stored['ID']}/file") == path.read_bytes()
            ask(f"{address}/instances/{stored['ID']}", method="DELETE")
        assert json.loads(ask(f"{address}/instances")) == []
        _told("storescu", "-R", "-aet", "NBCAD", "-aec", "ARCHIVE", "127.0.0.1", port, *files)
        back = {}
        for number in json.loads(ask(f"{address}/instances")):
            (tmp_path / "back").write_bytes(ask(f"{address}/instances/{number}/file"))
            back[pydicom.dcmread(tmp_path / "back").SOPInstanceUID] = pydicom.dcmread(tmp_path / "back")
        sent = {made.SOPInstanceUID: made for made in map(pydicom.dcmread, files)}
        assert back == sent and len(sent) == len(files)
        studies = [json.loads(ask(f"{address}/studies/{n}")) for n in json.loads(ask(f"{address}/studies"))]
        assert {s["MainDicomTags"]["StudyInstanceUID"] for s in studies} == {"2.25.20", "2.25.21", "2.25.22"}


def test_own_objects_as_input_are_ignored(objects):
    files = read_archive(objects / "classic").files
    assert [(f.status, str(f.reason)) for f in files] == [(IGNORED, "a result of nbcad, no image of a scanner")] * 2
