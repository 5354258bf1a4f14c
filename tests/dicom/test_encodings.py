"""One phantom in five encodings: the same samples and the same reports, whatever the files look like."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from make_analysis import report_of
from make_dicom import as_stored, enhanced, write
from nbcad.datasets import phantom
from nbcad.dicom import read_archive, read_pixels
from nbcad.nets.labels import organ_labels
from nbcad.report.types import Report
from nbcad.samples import build, conversion, ingest, lmdb_io

ENCODINGS = ["enhanced", "rle", "jpeg2000", "big endian"]
_SYNTAX = {"rle": RLELossless, "jpeg2000": JPEG2000Lossless, "big endian": ExplicitVRBigEndian}


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory) -> dict[str, Path]:
    """Folders with ``dicom`` and ``annotations.csv`` of the same patients, by encoding."""
    root = tmp_path_factory.mktemp("encodings")
    phantom.generate(root / "classic", 4, seed=7, workers=1, max_slices=6)
    _give_regions(root / "classic" / "annotations.csv")
    for name in ENCODINGS:
        _encoded(root / "classic", root / name, name)
    return {name: root / name for name in ["classic", *ENCODINGS]}


def _give_regions(path: Path) -> None:
    """So few slices show none of the regions; here each shall have one."""
    with path.open() as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        regions = organ_labels()
        told = [[uid, frame, regions[n % 3], *rest] for n, (uid, frame, _, *rest) in enumerate(rows)]
        csv.writer(file).writerows([header, *told])


def _encoded(classic: Path, out: Path, name: str) -> None:
    by_series: dict[str, list[pydicom.Dataset]] = {}
    for path in sorted((classic / "dicom").rglob("*")):
        if path.is_file():
            image = pydicom.dcmread(path)
            if name in _SYNTAX:
                write(as_stored(image, _SYNTAX[name]), out / path.relative_to(classic))
            by_series.setdefault(image.SeriesInstanceUID, []).append(image)
    if name in _SYNTAX:
        shutil.copy(classic / "annotations.csv", out)
        return
    new = {}
    for uid, images in by_series.items():
        one = enhanced(images)
        write(one, out / "dicom" / uid)
        new |= {image.SOPInstanceUID: (one.SOPInstanceUID, frame) for frame, image in enumerate(images)}
    with (classic / "annotations.csv").open() as old, (out / "annotations.csv").open("w", newline="") as file:
        header, *rows = csv.reader(old)
        csv.writer(file).writerows([header, *([*new[uid], *rest] for uid, _, *rest in rows)])


def _content(path: Path) -> list:
    """Everything of an input's series but its UIDs and paths; every image by the hash of its pixels."""
    found = []
    for series in read_archive(path).series:
        slices, pixels = read_pixels(series)
        planes = [dataclasses.astuple(image.geometry) for image in slices]
        facts = {f.name: getattr(series, f.name) for f in dataclasses.fields(series) if f.name != "slices"}
        found.append(
            (facts, series.slice_step_mm, np.array([np.concatenate([*map(np.atleast_1d, p)]) for p in planes]), pixels)
        )
    return found


@pytest.mark.parametrize("name", ENCODINGS)
def test_series_geometry_and_pixels_are_the_same(hospitals, name):
    for (facts, step, planes, pixels), (same_facts, same_step, same_planes, same_pixels) in zip(
        _content(hospitals["classic"] / "dicom"), _content(hospitals[name] / "dicom"), strict=True
    ):
        assert (same_facts, same_step) == (facts, step)
        np.testing.assert_array_equal(same_planes, planes)
        np.testing.assert_array_equal(same_pixels, pixels)


def _samples(hospital: Path, key: bytes, classic_uid, monkeypatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All LMDBs' images and labels; places are seeded by UID, for which that of the classic image stands in."""
    plan = ingest.plan_samples

    def planned(patient, number, image, *rest):
        uid = classic_uid.get((image.sop_uid, image.frame), image.sop_uid)
        return plan(patient, number, dataclasses.replace(image, sop_uid=uid, frame=0), *rest)

    monkeypatch.setattr(ingest, "plan_samples", planned)
    out = hospital / "out"
    out.mkdir()
    (out / "samples.key").write_bytes(key)
    build.build(hospital / "dicom", [hospital / "annotations.csv"], out / "samples.sqlite")
    counts = conversion.convert(out / "samples.sqlite", out / "lmdb", n4=False, map_=map, force=False)
    monkeypatch.undo()
    return {name: lmdb_io.read(out / "lmdb" / name) for name, count in counts.items() if count}


def _classic_uids(hospital: Path, classic: Path) -> dict:
    """The classic image's UID of each row, in the order that both CSVs share."""
    with (hospital / "annotations.csv").open() as one, (classic / "annotations.csv").open() as other:
        pairs = zip(csv.DictReader(one), csv.DictReader(other), strict=True)
        return {(row["sop_uid"], int(row["frame"])): old["sop_uid"] for row, old in pairs}


@pytest.fixture(scope="module")
def classic_samples(hospitals):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return _samples(hospitals["classic"], bytes(32), {}, monkeypatch)


@pytest.mark.parametrize("name", ENCODINGS)
def test_samples_are_the_same_arrays_and_labels(hospitals, classic_samples, name, monkeypatch):
    uids = _classic_uids(hospitals[name], hospitals["classic"])
    found = _samples(hospitals[name], bytes(32), uids, monkeypatch)
    assert set(found) == set(classic_samples) >= {"organ_train", "stage_train"}
    for lmdb, (images, labels) in classic_samples.items():
        np.testing.assert_array_equal(found[lmdb][1], labels, err_msg=lmdb)
        np.testing.assert_array_equal(found[lmdb][0], images, err_msg=lmdb)


def _comparable(report: Report) -> dict:
    """A report without UIDs, paths and time, and with files counted by what became of them alone."""
    report = dataclasses.asdict(report)
    del report["timing_s"], report["files"], report["origin"]
    for name in ("files_used", "files_ignored"):
        del report["summary"][name]
    for study in report["studies"]:
        for series in study["series"]:
            for entry in [*series["slices"], *(box for lesion in series["lesions"] for box in lesion["boxes"])]:
                del entry["sop_uid"], entry["frame"]
    return report


@pytest.fixture(scope="module")
def classic_report(hospitals, eager):
    return report_of(hospitals["classic"] / "dicom", eager)


@pytest.mark.parametrize("name", ENCODINGS)
def test_reports_are_the_same(hospitals, classic_report, eager, name):
    expected = classic_report
    found = report_of(hospitals[name] / "dicom", eager)
    assert expected.summary.lesions > 0 and expected.summary.files_refused == 0
    assert _comparable(found) == _comparable(expected)
    if name != "enhanced":  # whose frames stand in the place of files
        statuses = [[(f.status, f.reason) for f in report.files] for report in (found, expected)]
        assert statuses[0] == statuses[1]
