"""The report as files: a page that can be trusted and stands alone, pictures that show what was found where."""

import base64
import hashlib
import json
import os
import re

import cv2
import numpy as np
import pytest

from html_page import HOSTILE, Page
from make_analysis import analysis, lesion, pages_of, patient_of, report_of
from make_dicom import enhanced, mr_image, write
from nbcad.inference.study_stage import StudyStage
from nbcad.inference.suitability import Suitability
from nbcad.language.message import verbatim
from nbcad.report import Language, Pages, html, pictures, viewer
from nbcad.report.entries import software
from nbcad.report.pictures import PICTURE_PIXELS, evidence

PIXELS = np.random.default_rng(0).integers(0, 900, (48, 40))


def _page(folder, models, out, language="en") -> Page:
    pages = Pages(out, Language(language), software(models))
    pages.close(report_of(folder, models, pages.add))
    return _read(out / "report.html")


def _read(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """Where a test puts its images."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_hostile_header_and_file_name_are_shown_as_text_and_run_nothing(eager, folder, tmp_path):
    write(mr_image(PIXELS, PatientID=HOSTILE[:64], SeriesDescription="T2 " + HOSTILE[:61]), folder / "a")
    t1 = {"SeriesDescription": "T1 " + HOSTILE[:61], "SeriesInstanceUID": "2.25.3"}
    write(mr_image(PIXELS, PatientID=HOSTILE[:64], **t1), folder / "b")
    name = HOSTILE.replace("/", "")
    (folder / name).write_text("nothing")
    page = _page(folder, eager, tmp_path)
    assert [s.get("id") for s in page.all("script")] == ["series-0", "pictures-0", "viewer-texts", None]
    assert page.scripts[""] == html.TEMPLATES.joinpath("viewer.js").read_text() and page.open == []
    assert all(set(image) == {"src", "alt"} for image in page.all("img"))
    for words in (f"Patient {HOSTILE[:64]}", f"Evidence: T2 {HOSTILE[:61]}", f"T1 {HOSTILE[:61]}", name):
        assert " ".join(words.split()) in page.text


def test_hostile_label_does_not_end_the_data_of_the_viewer(tmp_path):
    series = analysis()
    series.organs = [HOSTILE] * 3
    page = _read(pages_of(tmp_path, patient_of(series)))
    assert json.loads(page.scripts["series-0"])["regions"] == [HOSTILE] * 3
    assert len(page.all("script")) == 4


def test_page_says_research_use_first_of_all(blind, folder, tmp_path):
    write(mr_image(PIXELS), folder / "x")
    page = _page(folder, blind, tmp_path)
    assert page.text.startswith("nbcad report Research use only. Not for clinical diagnosis.")


def test_page_needs_nothing_from_outside_and_its_policy_forbids_it(eager, folder, tmp_path):
    write(mr_image(PIXELS), folder / "x")
    page = _page(folder, eager, tmp_path)
    assert page.all("img") and all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not {"link", "iframe", "object", "a"} & {tag for tag, _ in page.elements}
    assert all(not {"href", "action", "style"} & attributes.keys() for _, attributes in page.elements)
    assert all("src" not in script for script in page.all("script"))
    assert "url(" not in page.style and "@import" not in page.style
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    allowed = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in (("style", page.style), ("script", page.scripts[""]))
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{allowed['style']}'; "
        f"script-src 'sha256-{allowed['script']}'; base-uri 'none'; form-action 'none'"
    )


@pytest.mark.parametrize("phantom", ["YES", "NO"])
def test_page_of_a_phantom_says_that_it_is_synthetic(blind, folder, tmp_path, phantom):
    write(mr_image(PIXELS, QualityControlImage=phantom), folder / "x")
    assert ("Synthetic" in _page(folder, blind, tmp_path).text) == (phantom == "YES")
    write(mr_image(PIXELS, PatientID="P2"), folder / "y")
    assert ("Synthetic" in _page(folder, blind, tmp_path).text) == (phantom == "YES")  # of several patients


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
    assert "1 slice. Input: 1 study, 2 series. Files: 1 used, 3 refused, 2 ignored." in page.text


def test_page_says_what_is_not_known(eager, folder, tmp_path):
    bare = {"PatientID": "", "SeriesDescription": "", "ImagePositionPatient": None, "ImageOrientationPatient": None}
    write(mr_image(PIXELS, **bare), folder / "x")
    text = _page(folder, eager, tmp_path).text
    for words in ("Patient without ID", "age not known", "Evidence: 2.25.2", "the series has no position"):
        assert words in text
    assert "None" not in text


def test_page_of_a_study_that_could_not_be_analysed_suggests_no_stage(eager, folder, tmp_path):
    write(mr_image(0 * PIXELS), folder / "x")
    page = _page(folder, eager, tmp_path)
    assert "Not analysed" in page.text and "No slice was analysed." in page.text
    assert not any(claim in page.text for claim in ("Image-suggested stage", "No lesion", "0 lesions", "normal"))
    assert "none of its images can be read" in page.text and page.all("img") == []


def test_page_of_an_input_without_mr_images_says_so(eager, folder, tmp_path):
    (folder / "notes.txt").write_text("nothing")
    assert "no MR image that can be analysed" in _page(folder, eager, tmp_path).text


def test_page_without_a_lesion_shows_the_hottest_slice_as_uncertain(tmp_path):
    found = analysis()
    found.heat[:, 0], found.heat[1, 0, 2, 2] = 0.9, 0.1
    stage = StudyStage("normal", {"normal": 1.0, "M": 0.0}, ())
    page = _read(pages_of(tmp_path, patient_of(found, stage=stage)))
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


def test_page_of_very_many_lesions_stays_small_and_says_what_it_leaves_out(tmp_path):
    lesions = [lesion({n: (2, 2, 6, 6)}) for n in range(pictures.PICTURES + 3)]
    page = _read(pages_of(tmp_path, patient_of(analysis(lesions, count=len(lesions)))))
    assert len(page.all("img")) == 2 * pictures.PICTURES
    assert "3 less probable lesions are listed above without a picture" in page.text
    jumps = [button for button in page.all("button") if button.get("class") == "jump"]
    assert [button["data-lesion"] for button in jumps] == [str(n + 1) for n in range(len(lesions))]
    assert [one["number"] for one in json.loads(page.scripts["series-0"])["lesions"]] == list(range(1, 16))


def test_page_of_very_many_series_keeps_to_its_size_and_says_what_it_leaves_out(tmp_path, monkeypatch):
    plain = analysis(stack=verbatim("cold"))
    found = analysis([lesion({1: (2, 2, 6, 6)}, probability=0.9)], stack=verbatim("hot"))
    series = [plain, plain, plain, found]
    small, large = (pages_of(tmp_path / str(n), patient_of(*series[:n])).stat().st_size for n in (1, 2))
    whole = large - small  # what one of them takes
    monkeypatch.setattr(html, "BYTES_OF_VIEWS", int(3.2 * whole))
    path = pages_of(tmp_path, patient_of(*series))
    page = _read(path)
    assert path.stat().st_size < small + 3.2 * whole
    assert "series-3" in page.scripts  # the last one has the lesion, so it comes first
    shown = [name for name in page.scripts if name.startswith("pictures-")]
    assert 1 < len(shown) < 4
    left_out = page.text.count("are not in the viewer, as the page would exceed") + page.text.count("has no pictures")
    assert left_out == 4 - len(shown)
    monkeypatch.setattr(html, "BYTES_OF_VIEWS", 0)
    page = _read(pages_of(tmp_path, patient_of(*series)))
    assert (page.text.count("It has no pictures here"), page.all("img"), page.all("canvas")) == (4, [], [])
    assert "0.90" not in page.text and "90 %" in page.text  # the table of lesions stays


def test_lesions_of_one_slice_share_its_picture(tmp_path):
    series = analysis([lesion({1: (2, 2, 6, 6)}), lesion({1: (12, 12, 16, 16)}), lesion({0: (2, 2, 6, 6)})])
    page = _read(pages_of(tmp_path, patient_of(series)))
    assert [i["alt"] for i in page.all("img")][::2] == [
        "Lesion 1, 2: slice 2 of 3, without marks",
        "Lesion 3: slice 1 of 3, without marks",
    ]


@pytest.mark.parametrize("axes", [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (1, 0, 0))])
def test_box_is_drawn_around_the_lesion_as_radiologists_see_it(axes):
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


def test_pictures_in_the_page_are_the_evidence(tmp_path):
    series = analysis([lesion({1: (2, 2, 6, 6)})])
    series.volume[1, 3:9] = 90
    plain, marked = (
        cv2.imdecode(np.frombuffer(base64.b64decode(i["src"].split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for i in _read(pages_of(tmp_path, patient_of(series))).all("img")
    )
    np.testing.assert_array_equal(plain, evidence(series, 1, overlay=False))
    np.testing.assert_array_equal(marked, evidence(series, 1))


_TURNS = [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (1, 0, 0)), ((0, 1, 0), (0, 0, -1))]


@pytest.mark.parametrize("axes", _TURNS)
def test_viewer_places_a_box_where_the_report_does(axes):
    """The middle of a lesion's box, by the viewer's corner, directions and shares, is the centre in the report."""
    axes = tuple(np.array(a, float) for a in axes)
    series = analysis([lesion({1: (2, 3, 10, 7)})], shape=(24, 20), spacing=(2.0, 1.5), axes=axes)
    patient = patient_of(series)
    data = viewer.viewer_data(series, patient.studies[0].series[0])
    (found,), place = data["lesions"], data["place"]
    row0, col0, row1, col1 = found["boxes"][1]
    middle = (
        np.array(place["corners"][1])
        + np.array(place["down"]) * (row0 + row1) / 2 * data["size_mm"][0]
        + np.array(place["right"]) * (col0 + col1) / 2 * data["size_mm"][1]
    )
    np.testing.assert_allclose(middle, found["centre_mm"], atol=0.01)


@pytest.mark.parametrize(
    ("axes", "left", "top"),
    [
        *((axes, "R", "A") for axes in _TURNS[:3]),
        (((1, 0, 0), (0, 0, -1)), "R", "S"),
        (((0, 1, 0), (0, 0, -1)), "A", "S"),
        (((0.8, 0.6, 0), (-0.6, 0.8, 0)), "RA", "AL"),
        (((0.995, 0.0998, 0), (-0.0998, 0.995, 0)), "R", "A"),
    ],
)
def test_letters_tell_the_directions_of_the_slice_as_shown(axes, left, top):
    series = analysis(axes=tuple(np.array(a, float) for a in axes))
    letters = viewer.viewer_data(series, patient_of(series).studies[0].series[0])["place"]["letters"]
    opposite = str.maketrans("RLAPIS", "LRPASI")
    assert (letters["left"], letters["top"]) == (left, top)
    assert (letters["right"], letters["bottom"]) == (left.translate(opposite), top.translate(opposite))


def test_viewer_of_a_series_without_geometry_places_nothing():
    series = analysis([lesion({1: (2, 3, 10, 7)})], axes=None)
    data = viewer.viewer_data(series, patient_of(series).studies[0].series[0])
    assert data["place"] is None and data["lesions"][0]["centre_mm"] is None
    assert data["lesions"][0]["boxes"][1] == [0.08333, 0.15, 0.41667, 0.35]


def test_viewer_shows_the_heat_and_the_slices_that_the_nets_saw(rng):
    series = analysis(shape=(48, 64), axes=(np.array([-1.0, 0, 0]), np.array([0, 1.0, 0])))
    series.volume[:] = cv2.GaussianBlur(rng.normal(128, 200, (48, 64)), (0, 0), 3).clip(0, 255).astype(np.uint8)
    series.heat[2, 0, 1, 3] = 0.2
    data = viewer.viewer_data(series, patient_of(series).studies[0].series[0])
    grids = np.frombuffer(base64.b64decode(data["heat"]["grids"]), np.uint8).reshape(3, *data["heat"]["shape"])
    assert grids[2, 1, 3] == 204 and grids[0, 1, 3] == 102
    assert data["heat"]["cell"] == [4 / 48, 4 / 64] and data["size_mm"] == [96, 128]
    pictures, quality = viewer.viewer_pictures(series)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert quality == 90 and shown.shape == (48, 64)
    assert np.abs(shown.astype(int) - series.volume[0, :, ::-1]).mean() < 2


def test_viewer_pictures_keep_to_their_size_at_the_worst(rng):
    series = analysis(shape=(600, 800), count=2)
    series.volume = rng.integers(0, 256, series.volume.shape).astype(np.uint8)
    pictures, quality = viewer.viewer_pictures(series)
    assert quality < 90 and sum(map(len, pictures)) <= 2 * viewer.BYTES_A_SLICE * 4 / 3 + 8
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown.shape == (384, 512)


def test_several_patients_have_a_page_each_and_one_that_leads_to_them(blind, folder, tmp_path):
    write(mr_image(PIXELS, PatientID="../../B"), folder / "b")
    write(mr_image(PIXELS, PatientID="A"), folder / "a")
    write(mr_image(0 * PIXELS, (0, 0, 5), PatientID="A"), folder / "black")
    (folder / "notes.txt").write_text("nothing")
    index = _page(folder, blind, tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.html")) == [
        "patients/0001.html", "patients/0002.html", "report.html",
    ]  # fmt: skip
    assert [a["href"] for a in index.all("a")] == ["patients/0001.html", "patients/0002.html"]
    assert index.words.count(str(folder / "black")) == index.words.count(str(folder / "notes.txt")) == 1
    assert "2 studies" in index.text and index.all("img") == [] == index.all("script")
    pages = [_read(tmp_path / f"patients/000{n}.html") for n in (1, 2)]
    for page, patient, black in zip(pages, ("../../B", "A"), (0, 1), strict=True):
        assert f"Patient {patient}" in page.text and page.all("a") == [{"href": "../report.html"}]
        assert page.words.count(str(folder / "black")) == black  # its own files, not those of no patient
        assert str(folder / "notes.txt") not in page.words
    assert "1 used, 1 refused, 0 ignored" in pages[1].text


def test_page_of_one_patient_of_several_tells_its_refused_frames(blind, folder, tmp_path):
    frames = [mr_image(pixels, (0, 0, 5 * z), PatientID="A") for z, pixels in enumerate((PIXELS, 0 * PIXELS, PIXELS))]
    write(enhanced(frames), folder / "a")
    write(mr_image(PIXELS, PatientID="B"), folder / "b")
    _page(folder, blind, tmp_path)
    first, second = (_read(tmp_path / f"patients/000{n}.html").text for n in (1, 2))
    assert "Of the files used 1 frame is refused." in first and "1 file used in part: frame 1 refused:" in first
    assert "1 of its 3 images cannot be read" in first and "frame" not in second.split("Files:")[1].split("Patient")[0]


def test_each_language_marks_the_page_as_its_own(tmp_path):
    for language, marked in (("en", "en"), ("zh", "zh-CN")):
        page = _read(pages_of(tmp_path, patient_of(analysis()), language=language))
        assert page.all("html") == [{"lang": marked}]
        assert re.search(r"@bottom-center \{ content: \"[^\"]+\"; \}", page.style)


def test_viewer_says_of_no_slice_of_an_unsuited_series_that_it_has_no_lesion():
    for verdict, answered in (("suited", True), ("unsuited", False)):
        series = analysis(suitability=Suitability(verdict, ()))
        assert viewer.viewer_data(series, patient_of(series).studies[0].series[0])["answered"] == answered
