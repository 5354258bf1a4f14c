"""DICOM objects of a whole report: their names, one stage in all of them, and back as input."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from make_analysis import INSS, report_of
from make_dicom import write
from make_objects import (
    image_of_study,
    only_series,
    write_objects,
    write_stack,
)
from nbcad.inference import heat
from nbcad.inference.stage import UNDETERMINED
from nbcad.language import LANGUAGES
from nbcad.nets.caffe_net import caffe
from nbcad.report import DicomWriter, Language, Pages
from nbcad.report.entries import software


def test_names_of_objects_count_series_and_tell_nothing_of_patients(blind, tmp_path):
    for n, patient in enumerate(("SECRET1", "SECRET2")):
        uids = {"StudyInstanceUID": f"2.25.{n + 3}", "SeriesInstanceUID": f"2.25.{n + 5}"}
        write_stack(tmp_path / "in" / str(n), 2, PatientID=patient, **uids)
    t1 = image_of_study(0, SeriesDescription="T1", SeriesInstanceUID="2.25.9", PatientID="SECRET1")
    write(t1, tmp_path / "in" / "t1")
    report = write_objects(tmp_path / "in", blind, tmp_path / "out")
    named = [name for study in report.studies for series in study.series for name in series.dicom]
    assert named == ["0001.sr.dcm", "0001-01.sc.dcm", "0002.sr.dcm", "0002-01.sc.dcm"]
    assert sorted(named) == sorted(p.name for p in (tmp_path / "out").iterdir())


def test_file_that_is_gone_when_its_objects_are_written_is_a_note(blind, tmp_path):
    write_stack(tmp_path / "in", 1)
    writer = DicomWriter(software(blind), tmp_path / "out")

    def finish(patient):
        shutil.rmtree(tmp_path / "in")
        writer.write(patient)

    entry = only_series(report_of(tmp_path / "in", blind, finish))
    assert entry.dicom == () and str(entry.notes[0]).startswith("No DICOM objects were written: header cannot")


@pytest.fixture
def only(eager, tmp_path):
    """Models of INSS, with seven outputs, to which everything is a lesion of one stage."""

    def models(stage: str):
        prototxt = tmp_path / "fcn.prototxt"
        prototxt.write_text(Path(heat.FCN).read_text().replace("num_output: 5 ", "num_output: 7 "))
        net = caffe.Net(str(prototxt), caffe.TEST)
        net.params["ip2-conv"][1].data[INSS.index(stage)] = 20
        return dataclasses.replace(eager, stages=INSS, stage_fcn=net)

    return models


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("stage", "label"), [("2A", None), ("3", "3"), ("4S", "4")])
def test_report_by_inss_suggests_one_stage(only, tmp_path, stage, label, language):
    models, out = only(stage), tmp_path / "out"
    pages = Pages(tmp_path, Language(language), software(models))
    objects = DicomWriter(software(models), out)

    def finish(patient) -> None:
        objects.write(patient)
        pages.add(patient)

    report = report_of(write_stack(tmp_path / "in", PatientAge="013M"), models, finish)
    pages.close(report)
    (study,) = report.studies
    assert study.stage.label == label and only_series(report).lesions
    assert set(study.stage.probabilities) == set(INSS)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (Language(language).render(UNDETERMINED) in page) == (label is None)
    assert [path.name for path in sorted(out.glob("*"))] == sorted(only_series(report).dicom)
    assert {"sr", "sc"} <= {path.name.split(".")[1] for path in out.glob("*")}
