"""The report's pages in headless Chromium, opened from disk as a doctor opens them."""

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from make_analysis import AXIAL, analysis, lesion, pages_of, patient_of
from nbcad.language.message import verbatim
from nbcad.report.types import FileEntry

CORONAL = np.array([1.0, 0, 0]), np.array([0, 0, -1.0])
HOSTILE = "</script><!--<script>document.title='x'</script><img src=x onerror=document.title='x'>"


class Opened:
    """A page of the report, open."""

    def __init__(self, driver, path: Path):
        self.driver = driver
        driver.get_log("browser")  # what earlier pages left
        driver.get(path.as_uri())
        self.wait_for_slices()

    def find(self, css: str, viewer: int = 0):
        return self.driver.find_elements(By.CSS_SELECTOR, f".viewer[data-series='{viewer}'] {css}")[0]

    def text(self, name: str, viewer: int = 0) -> str:
        return self.find(f".{name}", viewer).get_attribute("textContent")

    def key(self, *keys: str, viewer: int = 0) -> None:
        """Press keys in a viewer's picture."""
        self.find(".screen", viewer).send_keys(*keys)
        self.wait_for_slices()

    def page_key(self, key: str) -> None:
        """Press a key with the focus nowhere."""
        self.driver.execute_script("document.activeElement.blur()")
        self.driver.switch_to.active_element.send_keys(key)
        self.wait_for_slices()

    def wait_for_slices(self) -> None:
        """Wait until each viewer has drawn the slice that it names."""
        script = """return [...document.querySelectorAll('.viewer')].every((viewer) =>
            viewer.dataset.drawn === viewer.querySelector('.slider').value)"""
        WebDriverWait(self.driver, 20, 0.02).until(lambda driver: driver.execute_script(script))
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def canvas(self, viewer: int = 0) -> np.ndarray:
        """What is drawn, BGR."""
        url = self.driver.execute_script("return arguments[0].toDataURL()", self.find(".image", viewer))
        return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)

    def middle(self) -> np.ndarray:
        """The colour in the middle of the picture."""
        canvas = self.canvas()
        return canvas[canvas.shape[0] // 2, canvas.shape[1] // 2].astype(int)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def opened(chromium, tmp_path):
    """Open the page of one patient with these series; it must leave nothing in the console."""
    pages = []

    def open_page(*series, **options):
        pages.append(Opened(chromium, pages_of(tmp_path, patient_of(*series), **options)))
        return pages[-1]

    yield open_page
    assert pages[-1].complaints() == []


def _grey(lesions=(), count=30, value=100, **options):
    """A series of evenly grey slices without heat."""
    series = analysis(lesions, count=count, shape=(64, 64), **options)
    series.volume[:] = value
    series.heat = np.ones((count, 5, 17, 17), np.float32)
    return series


def test_slices_are_scrolled_by_wheel_keys_and_slider(opened):
    page = opened(_grey())
    assert page.text("number") == "Slice 1 of 30" and page.text("position") == "S 30.0 mm"
    page.key(Keys.ARROW_DOWN)
    assert page.text("number") == "Slice 2 of 30" and page.text("position") == "S 35.0 mm"
    page.key(Keys.PAGE_DOWN)
    page.key(Keys.ARROW_LEFT)
    assert page.text("number") == "Slice 11 of 30"
    page.key(Keys.END)
    page.key(Keys.ARROW_RIGHT)  # there is none further
    assert page.text("number") == "Slice 30 of 30"
    page.key(Keys.HOME)
    assert page.text("position") == "S 30.0 mm"
    wheel = webdriver.ActionChains(page.driver)
    origin = webdriver.common.actions.wheel_input.ScrollOrigin.from_element(page.find(".screen"))
    wheel.scroll_from_origin(origin, 0, 100).scroll_from_origin(origin, 0, 100).perform()
    page.wait_for_slices()
    assert page.text("number") == "Slice 3 of 30"
    page.find(".slider").send_keys(Keys.END)
    assert page.text("number") == "Slice 30 of 30"
    said = page.find(".slider").get_attribute("aria-valuetext")
    assert said == ("Slice 30 of 30, S 175.0 mm, adrenal 70 %, highest tumour probability 0 %, no lesion on this slice")


def test_position_bears_the_letter_of_its_side(opened):
    page = opened(_grey(count=12, step_mm=-5.0))
    assert page.text("position") == "S 30.0 mm"
    page.key(Keys.END)
    assert page.text("position") == "I 25.0 mm"


def test_boxes_and_heat_are_laid_over_the_slice_and_taken_off(opened):
    series = _grey([lesion({3: (16, 16, 48, 48)})])
    series.heat[3, 0] = 0  # certain everywhere: white over grey
    page = opened(series)
    assert page.text("number") == "Slice 4 of 30" and page.text("here") == "lesion 1"
    with_heat = page.middle()
    assert with_heat[0] == pytest.approx(100 + 0.45 * 155, abs=2) and np.ptp(with_heat) == 0
    yellow = np.argwhere((page.canvas() == (60, 200, 255)).all(axis=2))
    assert len(yellow) > 100
    page.page_key("b")
    assert not (page.canvas() == (60, 200, 255)).all(axis=2).any()
    page.page_key("h")
    assert page.middle() == pytest.approx([100] * 3, abs=1)
    assert not page.find(".boxes").is_selected() and not page.find(".heat").is_selected()
    page.find(".heat").click()
    page.wait_for_slices()
    assert page.middle() == pytest.approx(with_heat, abs=1)


def test_box_is_drawn_in_true_proportions_where_the_lesion_is(opened):
    series = analysis([lesion({0: (5, 10, 15, 30)})], count=1, shape=(40, 40), spacing=(4.0, 2.0))
    series.volume[0, 5:15, 10:30] = 200
    page = opened(series)
    canvas = page.canvas()
    bright = np.argwhere(abs(canvas.astype(int) - 200).max(axis=2) < 12)
    edges = np.argwhere((canvas == (60, 200, 255)).all(axis=2))
    edges = edges[edges[:, 0] > bright[:, 0].min() - 4]  # not the number above
    np.testing.assert_allclose(bright.min(axis=0), edges.min(axis=0), atol=12)  # smooth where enlarged
    np.testing.assert_allclose(bright.max(axis=0), edges.max(axis=0), atol=12)
    height, width = np.ptp(edges, axis=0)
    assert height / width == pytest.approx(1, rel=0.05)  # 10 rows of 4 mm, 20 columns of 2 mm


def test_window_is_changed_by_dragging_and_keys_and_put_back(opened):
    page = opened(_grey(value=100))
    assert page.text("window") == "window width 255, centre 128" and page.middle()[0] == pytest.approx(100, abs=1)
    webdriver.ActionChains(page.driver).drag_and_drop_by_offset(page.find(".screen"), -155, -56).perform()
    page.wait_for_slices()
    assert page.text("window") == "window width 100, centre 100" and page.middle()[0] == pytest.approx(128, abs=3)
    webdriver.ActionChains(page.driver).double_click(page.find(".screen")).perform()
    page.wait_for_slices()
    assert page.text("window") == "window width 255, centre 128" and page.middle()[0] == pytest.approx(100, abs=1)
    page.key(Keys.SHIFT, Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert page.text("window") == "window width 247, centre 124" and page.text("number") == "Slice 1 of 30"


def test_lesions_are_reached_from_the_table_and_by_keys(opened):
    page = opened(_grey([lesion({n: (2, 2, 6, 6)}) for n in (20, 5, 11)]))
    assert page.text("number") == "Slice 21 of 30"  # the most probable lesion is shown at first
    page.driver.find_elements(By.CSS_SELECTOR, ".jump")[1].send_keys(Keys.ENTER)
    page.wait_for_slices()
    assert page.text("number") == "Slice 6 of 30" and page.text("here") == "lesion 2"
    for key, slice_ in (("n", 12), ("n", 21), ("p", 12), ("2", 6), ("9", 6)):
        page.page_key(key)
        assert page.text("number") == f"Slice {slice_} of 30"


def test_series_of_a_study_are_linked_by_where_they_are_in_the_patient(opened):
    first = _grey([lesion({7: (30, 30, 34, 34)})], count=20, step_mm=5.0)  # S 30 to 125
    second = _grey(count=40, step_mm=2.5)  # the same places, twice as dense
    coronal = _grey(count=40, axes=CORONAL, step_mm=2.0)
    nowhere = _grey(count=1, axes=None)
    page = opened(first, second, coronal, nowhere)
    page.key(Keys.HOME)
    page.key(Keys.PAGE_DOWN)
    assert page.text("position") == page.text("position", 1) == "S 80.0 mm"
    page.key(Keys.ARROW_UP, viewer=1)  # between two slices of the first
    assert page.text("number", 1) == "Slice 20 of 40" and page.text("position", 0) in ("S 75.0 mm", "S 80.0 mm")
    page.page_key("n")
    assert page.text("position") == page.text("position", 1) == "S 65.0 mm"
    assert page.text("position", 2) == "P 69.0 mm"  # the lesion's middle is at P 70
    page.page_key("l")
    page.key(Keys.HOME)
    assert page.text("position") == "S 30.0 mm" and page.text("position", 1) == "S 65.0 mm"


def test_picture_is_enlarged_moved_and_read_out(opened):
    series = _grey([], count=1)
    series.volume[0, :32] = 50
    page = opened(series)
    before = (page.canvas()[..., 0] > 75).sum()
    page.key("+")
    assert (page.canvas()[..., 0] > 75).sum() > 1.2 * before
    page.key("r")
    page.key("s")  # the picture moves up, its lower half comes to the middle
    assert page.middle()[0] == pytest.approx(100, abs=2)
    page.key("r")
    webdriver.ActionChains(page.driver).move_to_element_with_offset(page.find(".screen"), 0, 20).perform()
    place, value, tumour = page.text("readout").split(" · ")
    left, _, superior = map(float, place.removesuffix(" mm").split()[1::2])
    assert (left, superior) == (pytest.approx(43, abs=0.3), 30) and (value, tumour) == ("grey value 100", "tumour 0 %")


def test_help_opens_and_closes_by_keyboard(opened):
    page = opened(_grey())
    page.page_key("?")
    (dialog,) = page.driver.find_elements(By.ID, "help")
    assert dialog.is_displayed() and "not on the scanner's" in dialog.text
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()


def test_everything_that_acts_can_be_reached_by_tab_and_has_a_name(opened):
    page = opened(_grey([lesion({3: (16, 16, 48, 48)})]))
    names = []
    page.driver.execute_script("window.scrollTo(0, 0)")
    for _ in range(9):
        webdriver.ActionChains(page.driver).send_keys(Keys.TAB).perform()
        names.append(page.driver.switch_to.active_element.accessible_name)
    assert names == ["Show lesion 1", "T2", "Slice", "boxes", "heat map", "opacity", "reset view", "help ?", ""]


def test_hostile_words_run_nothing(chromium, tmp_path):
    series = _grey([lesion({3: (16, 16, 48, 48)})], patient_id=HOSTILE, description=HOSTILE, stack=verbatim(HOSTILE))
    series.organs = [HOSTILE] * len(series.organs)
    files = [FileEntry(HOSTILE, "refused", verbatim(HOSTILE))]
    page = Opened(chromium, pages_of(tmp_path, patient_of(series), files=files))
    assert page.text("region") == HOSTILE and page.find("h3").text == f"{HOSTILE} ({HOSTILE})"
    assert chromium.title == "nbcad report" and page.complaints() == []
    for allowed in ("eval('1')", "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x'}))"):
        chromium.execute_async_script(
            "const s = document.createElement('script'); s.textContent = arguments[0]; document.body.append(s);"
            "setTimeout(arguments[1], 50)",
            allowed,
        )
    assert len([message for message in page.complaints() if "Content Security Policy" in message]) == 2


def test_printed_page_has_light_colours_and_evidence_for_viewers(opened):
    page = opened(_grey([lesion({3: (16, 16, 48, 48)})]))
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.find(".screen").is_displayed()
        figures = page.driver.find_elements(By.CSS_SELECTOR, "figure img")
        assert len(figures) == 2 and all(figure.is_displayed() for figure in figures)
        style = "return getComputedStyle(document.body).backgroundColor"
        assert page.driver.execute_script(style) == "rgb(255, 255, 255)"
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_javascript_the_evidence_stands_and_the_page_says_so(chromium, tmp_path):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(pages_of(tmp_path, patient_of(_grey([lesion({3: (16, 16, 48, 48)})]))).as_uri())
        assert not chromium.find_element(By.CSS_SELECTOR, ".viewer").is_displayed()
        assert chromium.find_element(By.CSS_SELECTOR, "figure img").is_displayed()
        assert "JavaScript is off" in chromium.find_element(By.TAG_NAME, "body").text
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_300_slices_of_512_by_512_open_from_a_page_of_under_60_megabytes(chromium, tmp_path, rng):
    """Of nothing but noise, which no image compresses worse than."""
    noise = rng.integers(0, 256, (812, 812))
    series = analysis([lesion({n: (99, 99, 200, 200)}) for n in range(12)], 300, (512, 512), (0.7, 0.7), AXIAL, 1.0)
    for n in range(300):
        series.volume[n] = noise[n : n + 512, n : n + 512]
    path = pages_of(tmp_path, patient_of(series))
    assert path.stat().st_size < 60e6
    page = Opened(chromium, path)
    page.key(Keys.END)
    assert page.text("number") == "Slice 300 of 300"
    chromium.get("about:blank")


def test_strip_of_all_slices_leads_to_one(opened):
    series = _grey([], count=10)
    series.heat[7, 0, 3, 3] = 0.2
    page = opened(series)
    assert page.text("number") == "Slice 8 of 10"  # without a lesion the hottest
    heights = [float(bar.get_attribute("height")) for bar in page.find(".bars").find_elements(By.CSS_SELECTOR, ".bar")]
    assert np.argmax(heights) == 7 and heights[7] == pytest.approx(78 * 0.8, abs=0.1)
    strip = page.find(".strip")
    webdriver.ActionChains(page.driver).move_to_element_with_offset(
        strip, -strip.size["width"] // 4, 0
    ).click().perform()
    page.wait_for_slices()
    assert page.text("number") == "Slice 3 of 10"
