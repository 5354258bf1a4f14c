"""The report as files: a page that can be trusted and stands alone, pictures that show what was found where."""

import base64
import json
import os
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from make_analysis import analysis, lesion
from make_dicom import mr_image, write
from nbcad.pipeline import PatientAnalysis, analyse
from nbcad.report import html, pictures, pictures_of, write_html, write_json
from nbcad.report.pictures import PICTURE_PIXELS, evidence

PIXELS = np.random.default_rng(0).integers(0, 900, (48, 40))
HOSTILE = "<script>alert('x')</script>\"><img src=http://x onerror=a>"
_VOID = {"img", "meta"}


class Page(HTMLParser):
    """What a browser makes of the page: its elements, its text and its style."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.style = ""
        self.words: list[str] = []
        self.feed(text)
        assert self.open == [], "an element was left open"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def _page(folder, models, out) -> Page:
    pictures = []
    report = analyse(folder, models, "cpu", finish=lambda patient: pictures.extend(pictures_of(patient)))
    write_html(report, pictures, out / "report.html")
    return Page((out / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """Where a test puts its images."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def _page_of(series, models, out) -> Page:
    """The page of one analysis made by hand."""
    write(mr_image(PIXELS), out / "one" / "x")
    report = analyse(out / "one", models, "cpu")
    entry = report["studies"][0]["series"][0]
    entry["lesions"] = [
        {
            "id": n,
            "organ": "thorax",
            "probability": found.probability,
            "stage": {"label": "M", "probabilities": {"M": 1.0}},
            "centre_mm": None,
            "boxes": list(found.boxes),
        }
        for n, found in enumerate(series.lesions, start=1)
    ]
    write_html(report, pictures_of(PatientAnalysis(1, report["studies"], [[series]])), out / "report.html")
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_hostile_header_and_file_name_are_shown_as_text_and_run_nothing(eager, folder, tmp_path):
    write(mr_image(PIXELS, PatientID=HOSTILE[:64], SeriesDescription="T2 " + HOSTILE[:50]), folder / "a")
    t1 = {"SeriesDescription": "T1 " + HOSTILE[:50], "SeriesInstanceUID": "2.25.3"}
    write(mr_image(PIXELS, PatientID=HOSTILE[:64], **t1), folder / "b")
    name = HOSTILE.replace("/", "")
    (folder / name).write_text("nothing")
    page = _page(folder, eager, tmp_path)
    assert page.all("script") == [] and page.open == []
    assert all(set(image) == {"src", "alt"} for image in page.all("img"))
    for words in (f"Patient {HOSTILE[:64]}", f"Series T2 {HOSTILE[:50]}", f"T1 {HOSTILE[:50]}", name):
        assert " ".join(words.split()) in page.text


def test_page_says_research_use_first_of_all(blind, folder, tmp_path):
    write(mr_image(PIXELS), folder / "x")
    page = _page(folder, blind, tmp_path)
    assert page.text.startswith("nbcad report Research use only. Not for clinical diagnosis.")


def test_page_needs_nothing_from_outside_and_its_policy_forbids_it(eager, folder, tmp_path):
    write(mr_image(PIXELS), folder / "x")
    page = _page(folder, eager, tmp_path)
    assert page.all("img") and all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not {"script", "link", "iframe", "object", "a", "form"} & {tag for tag, _ in page.elements}
    assert all("href" not in attributes for _, attributes in page.elements)
    assert "url(" not in page.style and "@import" not in page.style
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.parametrize("phantom", ["YES", "NO"])
def test_page_of_a_phantom_says_that_it_is_synthetic(blind, folder, tmp_path, phantom):
    write(mr_image(PIXELS, QualityControlImage=phantom), folder / "x")
    assert ("Synthetic" in _page(folder, blind, tmp_path).text) == (phantom == "YES")


def test_page_lists_every_file_not_used_with_its_reason(blind, folder, tmp_path):
    write(mr_image(PIXELS), folder / "good")
    for name in ("r1", "r2"):
        write(mr_image(PIXELS, PixelSpacing=None), folder / name)
    write(mr_image(0 * PIXELS, (0, 0, 5)), folder / "black")
    write(mr_image(PIXELS, SeriesDescription="T1", SeriesInstanceUID="2.25.3"), folder / "t1")
    (folder / "notes.txt").write_text("nothing")
    page = _page(folder, blind, tmp_path)
    for path in ("r1", "r2", "black", "t1", "notes.txt"):
        assert page.words.count(str(folder / path)) == 1
    assert str(folder / "good") not in page.words
    assert "2 files refused: (0028,0030) Pixel Spacing is missing" in page.text
    assert "1 file refused: (7FE0,0010) Pixel Data: all pixels are equal" in page.text
    assert (
        "1 file ignored: rule 'axial T2': weighting is T1" in page.text
        and "1 file ignored: not a DICOM file" in page.text
    )
    assert [("open" in d) for d in page.all("details")] == [True, True, False, False]  # refused ones first, unfolded
    assert "1 used, 3 refused, 2 ignored" in page.text


def test_page_says_what_is_not_known(eager, folder, tmp_path):
    bare = {"PatientID": "", "SeriesDescription": "", "ImagePositionPatient": None, "ImageOrientationPatient": None}
    write(mr_image(PIXELS, **bare), folder / "x")
    text = _page(folder, eager, tmp_path).text
    for words in ("Patient without ID", "age not known", "Series 2.25.2", "the series has no position"):
        assert words in text
    assert "None" not in text


def test_page_of_a_study_that_could_not_be_analysed_suggests_no_stage(eager, folder, tmp_path):
    write(mr_image(0 * PIXELS), folder / "x")
    page = _page(folder, eager, tmp_path)
    assert "No stage is suggested." in page.text and "Image-suggested stage" not in page.text
    assert "none of its images can be read" in page.text and page.all("img") == []


def test_page_of_an_input_without_mr_images_says_so(eager, folder, tmp_path):
    (folder / "notes.txt").write_text("nothing")
    assert "no MR image that can be analysed" in _page(folder, eager, tmp_path).text


def test_page_without_a_lesion_shows_the_hottest_slice_and_claims_no_certainty(blind, folder, tmp_path):
    for z in (0, 5, 10):
        write(mr_image(PIXELS, (0, 0, z)), folder / str(z))
    patients = []
    report = analyse(folder, blind, "cpu", finish=patients.append)
    ((found,),) = patients[0].analyses
    found.heat[:, 0], found.heat[1, 0, 2, 2] = 0.9, 0.1
    write_html(report, pictures_of(patients[0]), tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert "No lesion found." in page.text and "Image-suggested stage: normal" in page.text
    assert "highest tumour probability: slice 2 of 3" in page.text and len(page.all("img")) == 2
    assert "%" not in page.text  # "normal" follows from a rule, it was not measured


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0, "0 %"), (0.0004, "<1 %"), (0.126, "13 %"), (0.99, "99 %"), (0.996, ">99 %"), (1, ">99 %")],
)
def test_no_probability_is_rounded_to_certainty(probability, text):
    assert html.percent(probability) == text


def test_file_name_that_is_no_text_does_not_stop_the_report(blind, folder, tmp_path):
    write(mr_image(PIXELS), folder / "x")
    path = os.fsencode(folder) + b"/\xe4rzte.txt"
    with open(path, "wb") as file:
        file.write(b"nothing")
    assert r"\udce4rzte.txt" in _page(folder, blind, tmp_path).text


def test_page_of_very_many_lesions_stays_small_and_says_what_it_leaves_out(blind, tmp_path):
    lesions = [lesion({n: (2, 2, 6, 6)}) for n in range(pictures.PICTURES + 3)]
    page = _page_of(analysis(lesions, count=len(lesions)), blind, tmp_path)
    assert len(page.all("img")) == 2 * pictures.PICTURES
    assert "3 less probable lesions are listed above without a picture" in page.text
    assert len(page.all("tr")) == 1 + len(lesions)


def test_lesions_of_one_slice_share_its_picture(blind, tmp_path):
    series = analysis([lesion({1: (2, 2, 6, 6)}), lesion({1: (12, 12, 16, 16)}), lesion({0: (2, 2, 6, 6)})])
    page = _page_of(series, blind, tmp_path)
    assert [i["alt"] for i in page.all("img")][::2] == [
        "Lesion 1, 2: slice 2 of 3, without marks",
        "Lesion 3: slice 1 of 3, without marks",
    ]


@pytest.mark.parametrize("axes", [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (1, 0, 0))])
def test_box_is_drawn_around_the_lesion_with_anterior_up_and_right_on_the_left(axes):
    """A bright patch in the patient's left front, in planes stored in several ways."""
    axes = tuple(np.array(a, float) for a in axes)
    series = analysis(shape=(64, 64), axes=axes, count=1)
    plane = series.slices[0].geometry
    middle = plane.pixel_to_patient(31.5, 31.5)
    for row, column in np.ndindex(64, 64):
        left, posterior, _ = plane.pixel_to_patient(row, column) - middle
        series.volume[0, row, column] = 255 * (16 < left < 32 and -32 < posterior < -16)
    rows, columns = (np.flatnonzero(series.volume[0].any(axis=a)) for a in (1, 0))
    series.lesions = [lesion({0: (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)})]
    series.heat = np.ones((1, 5, 17, 17), np.float32)  # cold
    plain, marked = evidence(series, 0, overlay=False), evidence(series, 0)
    scale = PICTURE_PIXELS // 64
    bright = np.argwhere(plain[..., 0] > 128)
    assert bright.min(axis=0) == pytest.approx([16 * scale, 40 * scale], abs=scale)
    assert bright.max(axis=0) == pytest.approx([24 * scale, 48 * scale], abs=scale)
    coloured = np.argwhere((marked != plain).any(axis=2) & (np.arange(512)[:, None] >= 16 * scale - 2))
    assert coloured.min(axis=0) == pytest.approx(bright.min(axis=0), abs=3)
    assert coloured.max(axis=0) == pytest.approx(bright.max(axis=0), abs=3)


def test_heat_is_drawn_where_it_lies_and_cold_places_stay_as_they_are():
    series = analysis(shape=(64, 64), count=1)
    series.volume[:] = 100
    series.heat = np.ones((1, 5, 17, 17), np.float32)
    series.heat[0, 0, 4, 12] = 0  # 32 mm down, 96 mm right of 128 mm
    changed = np.argwhere((evidence(series, 0) != evidence(series, 0, overlay=False)).any(axis=2))
    assert changed.mean(axis=0) == pytest.approx([128, 384], abs=2)
    assert np.ptp(changed, axis=0).max() < 64  # less than the distance to the next places


def test_picture_has_the_slices_true_proportions():
    assert evidence(analysis(shape=(30, 40), spacing=(2.0, 1.0)), 0).shape == (512, 341, 3)
    assert evidence(analysis(shape=(20, 40), axes=None), 0).shape == (256, 512, 3)


def test_pictures_in_the_page_are_the_evidence(tmp_path, blind):
    series = analysis([lesion({1: (2, 2, 6, 6)})])
    series.volume[1, 3:9] = 90
    plain, marked = (
        cv2.imdecode(np.frombuffer(base64.b64decode(i["src"].split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for i in _page_of(series, blind, tmp_path).all("img")
    )
    np.testing.assert_array_equal(plain, evidence(series, 1, overlay=False))
    np.testing.assert_array_equal(marked, evidence(series, 1))


def test_json_reads_back_and_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    write_json({"a": [1, None, "ä"]}, path)
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, path)
    assert json.loads(path.read_text()) == {"a": [1, None, "ä"]}
    assert list(tmp_path.iterdir()) == [path]
