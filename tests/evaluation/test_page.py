import base64
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from html_page import HOSTILE, Page
from make_analysis import untrained
from make_records import image, patient, records, series, ward
from nbcad.evaluation import document, plots, table
from nbcad.evaluation.bootstrap import undefined
from nbcad.evaluation.page import write_page
from nbcad.evaluation.types import Baseline, Metrics, ModelFolders


def _document(of, stage="runs/stage", baselines=None) -> Metrics:
    return document.assemble(of, untrained(threshold=0.3), ModelFolders("runs/organ", stage), baselines)


def _page(figures, tmp_path, beside=()) -> Page:
    write_page(figures, plots.draw(figures), list(beside), tmp_path / "metrics.html")
    return Page((tmp_path / "metrics.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures():
    return _document(ward())


def test_page_says_research_use_first_of_all_and_synthetic_next(figures, tmp_path):
    first = "nbcad measures Research use only. Not for clinical diagnosis."
    assert _page(figures, tmp_path).text.startswith(f"{first} Synthetic: measured on a generated phantom.")
    real = replace(figures, synthetic=False)
    assert "ynthetic" not in _page(real, tmp_path).text


def test_page_needs_nothing_from_outside_and_its_policy_forbids_it(figures, tmp_path):
    page = _page(figures, tmp_path)
    assert len(page.all("img")) == 10
    for picture in page.all("img"):
        head, svg = picture["src"].split(",")
        assert head == "data:image/svg+xml;base64"
        for element in ElementTree.fromstring(base64.b64decode(svg)).iter():
            links = [v for k, v in element.attrib.items() if k.endswith("href")]
            assert all(link.startswith("#") or link.startswith("data:") for link in links)
    assert not {"script", "link", "iframe", "object", "a", "form"} & {tag for tag, _ in page.elements}
    assert "url(" not in page.style and "@import" not in page.style
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_names_from_outside_are_shown_as_text(figures, tmp_path):
    other = _document(ward(), stage=HOSTILE)
    page = _page(other, tmp_path, [other])
    assert page.all("script") == [] and HOSTILE in " ".join(page.words)
    assert all(set(picture) == {"src", "alt"} for picture in page.all("img"))


def test_figure_stands_with_its_interval_and_definition_if_it_has_any(figures, tmp_path):
    page = _page(figures, tmp_path)
    found = figures.tumour.lesion.sensitivity
    assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in page.text
    for name in ("sensitivity", "miss_rate", "false_positive_rate", "lesion", "free-response ROC", "95 % interval"):
        assert document.DEFINITIONS[name] in page.text
    assert "not defined" in page.text and "None" not in page.text


def test_other_models_stand_in_a_column_of_their_own(figures, tmp_path):
    text = _page(figures, tmp_path, [_document(ward(), stage="runs/beyond")]).text
    assert "stager runs/stage stager runs/beyond organ models runs/organ" in text


def test_baselines_stand_beside_with_what_was_not_trained(tmp_path):
    baseline = Baseline("ReLU", undefined("not trained; run it"))
    page = _page(_document(ward(), baselines={"organ by slice": [baseline]}), tmp_path)
    assert "organ by slice: ReLU not trained; run it" in page.text


def test_plots_without_anything_to_show_are_left_out(tmp_path):
    figures = _document(records(patient(of=[series([image(None)])]), patient(of=[series([image(None)])])))
    drawn = plots.draw(figures)
    assert not {"froc", "roc_tumour", "roc_organ", "iou", "centre_distance", "calibration_organ"} & set(drawn)
    assert len(_page(figures, tmp_path).all("img")) == len(drawn)


def test_the_same_figures_are_the_same_plots(figures):
    assert plots.draw(figures) == plots.draw(figures)


def test_table_gives_the_five_measures_with_intervals(figures, capsys):
    table.print_figures(figures)
    lines = capsys.readouterr().out.splitlines()
    measures, counts = (line for line in lines if line.startswith("tumour by slice"))
    assert measures.count("[") == 5 and counts.split()[-4:] == ["2", "2", "3", "1"]
    assert any(line.split() == ["TP", "FN", "TN", "FP"] for line in lines)
    assert any(line.startswith("lesions: 3 of 6 found, 3 false") for line in lines)


def test_table_fits_a_terminal_and_says_once_that_data_are_synthetic(figures, capsys):
    table.print_figures(figures)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert "(synthetic data)" in lines[0] and sum("synthetic" in line for line in lines) == 1
    table.print_figures(replace(figures, synthetic=False))
    assert "synthetic" not in capsys.readouterr().out
