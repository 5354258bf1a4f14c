"""One number names a lesion wherever it is shown: in the table, the viewer, the pictures and the DICOM objects."""

import json
import re
from dataclasses import replace

import pytest
from pydicom.sr.codedict import codes

from html_page import Page
from make_analysis import analysis, lesion, pages_of, patient_of, report_of
from make_objects import lesion_groups, study_again, write_stack
from nbcad.inference.measure import Diameters
from nbcad.report import DicomWriter, Language, Pages, secondary_capture
from nbcad.report.entries import software
from nbcad.report.html import percent

# By number. On other slices than their order tells.
SHARES = {1: 0.93, 2: 0.71, 3: 0.42}
MIDDLES = {1: 2, 2: 0, 3: 3}


@pytest.fixture
def shown(blind, tmp_path, monkeypatch):
    """The page, the groups of the structured report and the words of the captures of three lesions."""
    found = [lesion({MIDDLES[n]: (4 * n, 4, 4 * n + 3, 9)}, probability=SHARES[n]) for n in SHARES]
    said, draw = [], secondary_capture.labelled
    monkeypatch.setattr(secondary_capture, "labelled", lambda *args: said.append(" ".join(args[2])) or draw(*args))
    pages, objects = Pages(tmp_path, Language("en"), software(blind)), DicomWriter(software(blind), tmp_path / "out")

    def finish(patient) -> None:
        ((series,),) = patient.analyses
        series.lesions = found
        patient.studies = (study_again(patient.studies[0], series, blind),)
        objects.write(patient)
        pages.add(patient)

    pages.close(report_of(write_stack(tmp_path / "in"), blind, finish))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    return page, lesion_groups(tmp_path / "out" / "0001.sr.dcm"), said


def test_number_of_a_lesion_is_the_same_wherever_it_is_shown(shown):
    page, groups, said = shown
    for number, share in SHARES.items():
        assert re.search(rf" {number} {re.escape(percent(share))} ", page.text)  # row of the table
        caption = f"Lesion {number}: slice {MIDDLES[number] + 1} of 4"
        assert caption in page.text and f"{caption}, with boxes" in {
            i["alt"][: len(caption) + 12] for i in page.all("img")
        }
        assert any(f"Slice {MIDDLES[number] + 1} of 4. Lesion {number}: {percent(share)}." in text for text in said)
    viewer = json.loads(page.scripts["series-0"])["lesions"]
    assert {one["number"]: one["middle"] for one in viewer} == MIDDLES
    certain = {g.tracking_identifier: g.get_measurements(codes.DCM.CertaintyOfFinding)[0].value for g in groups}
    assert certain == {f"Lesion {number}": pytest.approx(100 * share) for number, share in SHARES.items()}


def test_table_gives_places_in_the_letters_of_the_viewer_and_sizes_in_whole_mm(tmp_path):
    patient = patient_of(analysis([lesion({0: (2, 3, 10, 7), 1: (2, 3, 10, 7)})], count=4))
    (study,) = patient.studies
    (entry,) = study.series[0].lesions
    changed = replace(entry, centre_mm=(-5.2, 7.8, -13.0), diameters_mm=Diameters(40.3, 21.7, 10.0), site=None)
    patient.studies = (replace(study, series=(replace(study.series[0], lesions=(changed,)),)),)
    text = Page(pages_of(tmp_path, patient).read_text(encoding="utf-8")).text
    assert " 1 90 % not determined left 40 × 22 × 10 " in text and " 1–2 R 5, P 8, I 13 " in text
