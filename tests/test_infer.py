"""From DICOM to report: what stands in it, and what became of every file."""

import json
import weakref
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
from pydicom import config

from make_analysis import analysis, lesion, report_of
from make_dicom import enhanced, mr_image, write
from nbcad.errors import NbcadError
from nbcad.inference.measure import millimetres
from nbcad.report.entries import lesion_entries
from nbcad.report.types import PatientEntry, Report
from nbcad.runtime.json_file import read_json, write_json

PIXELS = np.random.default_rng(0).integers(0, 900, (48, 40))


def _stack(folder, count=2, **elements) -> list[str]:
    """Write a series; its paths."""
    return [str(write(mr_image(PIXELS, (0, 0, 5.0 * n), **elements), folder / f"{n}")) for n in range(count)]


def test_report_has_the_documented_keys_and_nothing_else(eager, tmp_path):
    _stack(tmp_path / "t2")
    _stack(tmp_path / "t1", SeriesDescription="T1", SeriesInstanceUID="2.25.3")
    made = report_of(tmp_path, eager)
    write_json(made, tmp_path / "report.json")
    write_json(read_json(tmp_path / "report.json", Report, NbcadError), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "report.json").read_bytes()
    report = json.loads((tmp_path / "report.json").read_text())
    labelled = {"label", "probabilities"}
    keys = {"schema", "research_use_only", "software", "summary", "studies", "files", "origin", "timing_s"}
    assert set(report) == keys
    assert set(report["software"]) == {"trained_on", "nbcad", "caffe", "python", "device", "models"}
    files = {"files_used", "files_refused", "files_ignored"}
    assert (
        set(report["summary"])
        == {"studies", "studies_without_answer", "series", "slices", "lesions", "frames_refused"} | files
    )
    (study,) = report["studies"]
    assert set(study) == {"suitability", "study_uid", "patient", "stage", "series"}
    assert (set(study["patient"]), set(study["stage"])) == (
        {"id", "age_months", "age_range_months"},
        labelled | {"notes"},
    )
    for series in study["series"]:
        facts = {"series_uid", "description", "stack", "status", "rule", "reason", "notes", "suitability"}
        assert set(series) == facts | {"slices", "lesions", "dicom"}
    assert [s["status"] for s in study["series"]] == ["analysed", "refused"]
    found = study["series"][0]
    assert all(set(s) == {"sop_uid", "frame", "organ", "tumour_probability"} for s in found["slices"])
    assert all(set(s["organ"]) == labelled for s in found["slices"])
    (entry,) = found["lesions"]
    assert set(entry) == {
        "id", "probability", "site", "side", "centre_mm", "box_mm", "diameters_mm", "volume_mm3", "first_slice",
        "last_slice", "boxes",
    }  # fmt: skip
    assert set(entry["diameters_mm"]) == {"long_axis", "short_axis", "craniocaudal"}
    assert [set(b) for b in entry["boxes"]] == [{"sop_uid", "frame", "row0", "col0", "row1", "col1"}] * 2
    assert all(set(f) == {"path", "status", "reason"} for f in report["files"])


def test_every_input_file_is_in_the_report_once_as_what_became_of_it(blind, tmp_path):
    expected = dict.fromkeys(_stack(tmp_path / "t2"), "used")
    expected |= dict.fromkeys(_stack(tmp_path / "t1", SeriesDescription="T1", SeriesInstanceUID="2.25.3"), "ignored")
    expected |= dict.fromkeys(_stack(tmp_path / "no_spacing", PixelSpacing=None), "refused")
    expected[str(write(mr_image(0 * PIXELS, (0, 0, 50)), tmp_path / "t2" / "black"))] = "refused"
    copy = mr_image(PIXELS, (0, 0, 60))
    expected |= {str(write(copy, tmp_path / "t2" / n)): s for n, s in (("a", "used"), ("b", "refused"))}
    (tmp_path / "notes.txt").write_text("nothing")
    expected[str(tmp_path / "notes.txt")] = "ignored"
    report = report_of(tmp_path, blind)
    assert len(report.files) == len(expected)
    assert {f.path: f.status for f in report.files} == expected
    assert all(bool(f.reason) == (f.status != "used") for f in report.files)
    counts = Counter(expected.values())
    assert {f"files_{status}": n for status, n in counts.items()}.items() <= asdict(report.summary).items()
    assert report.summary.slices == counts["used"]


def test_series_without_a_readable_image_gives_its_study_no_stage(eager, tmp_path):
    write(mr_image(0 * PIXELS), tmp_path / "black")
    patients = []
    report = report_of(tmp_path, eager, patients.append)
    (study,) = report.studies
    (series,) = study.series
    assert (series.status, bool(series.reason), patients[0].analyses) == ("refused", True, [[None]])
    assert (study.stage.label, study.stage.probabilities) == (None, {})
    assert study.stage.notes


def test_analyses_are_handed_over_patient_by_patient_and_not_kept(blind, tmp_path):
    _stack(tmp_path / "a", SeriesDescription="T1", SeriesInstanceUID="2.25.3")
    _stack(tmp_path / "b", SeriesInstanceUID="2.25.4")
    _stack(tmp_path / "c", SeriesInstanceUID="2.25.5", StudyInstanceUID="2.25.6")
    _stack(tmp_path / "d", SeriesInstanceUID="2.25.7", PatientID="P2", StudyInstanceUID="2.25.8")
    handed, volumes = [], []

    def finish(patient):
        for study, entry, found in patient.series():
            handed.append((patient.number, entry.series_uid, found is not None))
            if found:
                assert (found.series.study_uid, found.series.series_uid) == (study.study_uid, entry.series_uid)
                volumes.append(weakref.ref(found.volume))
        kept = [volume() is not None for volume in volumes]
        assert kept == [number == patient.number for number, _, analysed in handed if analysed]

    report = report_of(tmp_path, blind, finish)
    assert handed == [(1, "2.25.3", False), (1, "2.25.4", True), (1, "2.25.5", True), (2, "2.25.7", True)]
    assert [s.series_uid for study in report.studies for s in study.series] == [uid for _, uid, _ in handed]
    assert [volume() for volume in volumes] == [None] * 3


def test_studies_without_patient_id_are_not_taken_for_one_patient(blind, tmp_path):
    for n in range(2):
        _stack(tmp_path / str(n), PatientID="", StudyInstanceUID=f"2.25.{n + 3}", SeriesInstanceUID=f"2.25.{n + 5}")
    patients = []
    report_of(tmp_path, blind, patients.append)
    assert [len(patient.studies) for patient in patients] == [1, 1]


def test_patients_who_share_a_study_uid_are_reported_apart(blind, tmp_path):
    _stack(tmp_path / "a", PatientID="P1", SeriesInstanceUID="2.25.3", PatientAge="010M")
    _stack(tmp_path / "b", PatientID="P2", SeriesInstanceUID="2.25.4", PatientAge="050M")
    report = report_of(tmp_path, blind)
    assert [study.patient for study in report.studies] == [
        PatientEntry("P1", 10, (10, 10)),
        PatientEntry("P2", 50, (50, 50)),
    ]


def test_age_is_the_studys_for_every_series_of_it_that_does_not_tell(eager, tmp_path):
    _stack(tmp_path / "a", SeriesInstanceUID="2.25.3")
    _stack(tmp_path / "b", SeriesInstanceUID="2.25.4", PatientAge="030M")
    (study,) = report_of(tmp_path, eager).studies
    assert study.patient.age_months == 30
    assert study.stage.probabilities["MS"] == 0  # at 18 months or more


@pytest.mark.parametrize(
    ("dates", "months", "ms"),
    [({}, (12, 23), False), ({"PatientBirthDate": "2016.07.01", "StudyDate": "2017.12.24"}, (17, 17), True)],
)
def test_stage_of_the_young_needs_an_age_known_to_the_month(eager, tmp_path, dates, months, ms):
    with config.disable_value_validation():
        _stack(tmp_path, PatientAge="001Y", **dates)
    (study,) = report_of(tmp_path, eager).studies
    assert study.patient == PatientEntry("P1", months[0] if ms else None, months)
    assert (study.stage.probabilities["MS"] > 0) == ms


@pytest.mark.parametrize("phantom", [True, False])
def test_phantom_is_called_synthetic_and_a_patient_is_not(blind, tmp_path, phantom):
    _stack(tmp_path, QualityControlImage="YES" if phantom else "NO")
    (study,) = report_of(tmp_path, blind).studies
    assert any("Synthetic" in str(note) for note in study.stage.notes) == phantom


def test_image_without_position_gives_lesions_but_no_millimetres(eager, tmp_path):
    write(mr_image(PIXELS, ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "x")
    patients = []
    report = report_of(tmp_path, eager, patients.append)
    (entry,) = report.studies[0].series[0].lesions
    assert (entry.centre_mm, entry.box_mm, entry.volume_mm3) == (None, None, None)
    assert (entry.site, entry.side, entry.diameters_mm.craniocaudal) == (None, None, None)
    assert entry.boxes
    ((found,),) = patients[0].analyses
    assert millimetres(found.lesions[0], found) == (None, None)


def test_lesion_names_its_images_and_their_numbers_from_1():
    series = analysis([lesion({1: (2, 2, 5, 5), 2: (2, 2, 5, 5), 3: (2, 2, 5, 5)})], count=5)
    (entry,) = lesion_entries(series)
    assert (entry.first_slice, entry.last_slice) == (2, 4)
    assert [b.sop_uid for b in entry.boxes] == [s.sop_uid for s in series.slices[1:4]]


def test_every_series_that_a_rule_takes_is_analysed_and_named(blind, tmp_path):
    _stack(tmp_path / "a", SeriesInstanceUID="2.25.3", SeriesDescription="T2 first")
    _stack(tmp_path / "b", SeriesInstanceUID="2.25.4", SeriesDescription="T2 second")
    _stack(tmp_path / "c", SeriesInstanceUID="2.25.5", SeriesDescription="T1")
    (study,) = report_of(tmp_path, blind).studies
    assert [(s.status, s.rule) for s in study.series] == [
        ("analysed", "axial T2"),
        ("analysed", "axial T2"),
        ("refused", "axial T2"),
    ]
    assert str(study.series[2].reason) == "rule 'axial T2': weighting is T1, not T2 or unknown"
    assert "2 series were analysed: T2 first, T2 second." in map(str, study.stage.notes)


def test_stacks_of_one_series_are_told_apart_in_the_report(blind, tmp_path):
    for number, echo in enumerate((70, 90)):
        for n in range(2):
            pixels = np.random.default_rng([number, n]).integers(0, 900, (48, 40))
            write(mr_image(pixels, (0, 0, 5.0 * n), EchoTime=echo), tmp_path / f"{echo}-{n}")
    (study,) = report_of(tmp_path, blind).studies
    assert [str(s.stack) for s in study.series] == ["echo 70 ms", "echo 90 ms"]
    assert [s.status for s in study.series] == ["analysed"] * 2
    assert "T2 TSE axial (echo 70 ms), T2 TSE axial (echo 90 ms)" in str(study.stage.notes[-1])


def test_refused_frame_is_in_the_report_beside_the_rest_of_its_file(blind, tmp_path):
    images = [mr_image(np.random.default_rng(n).integers(0, 900, (48, 40)), (0, 0, 5.0 * n)) for n in range(3)]
    images[2].PixelData = bytes(2 * 48 * 40)
    path = write(enhanced(images), tmp_path / "x")
    report = report_of(tmp_path, blind)
    reason = "frame 2 refused: (7FE0,0010) Pixel Data: all pixels are equal, 0"
    assert [(file.path, file.status, str(file.reason)) for file in report.files] == [(str(path), "used", reason)]
    assert (report.summary.files_used, report.summary.frames_refused) == (1, 1)
    (series,) = report.studies[0].series
    assert [s.frame for s in series.slices] == [0, 1]
    assert [*map(str, series.notes)] == ["1 of its 3 images cannot be read"]


def test_rule_does_not_count_against_a_series_that_was_asked_for(blind, tmp_path):
    _stack(tmp_path / "a", SeriesInstanceUID="2.25.3", SeriesDescription="T1")
    _stack(tmp_path / "b", SeriesInstanceUID="2.25.4")
    report = report_of(tmp_path, blind, only_series="2.25.3")
    assert [(s.series_uid, s.rule, s.status) for s in report.studies[0].series] == [
        ("2.25.3", "--series", "analysed"),
        ("2.25.4", "--series", "refused"),
    ]
