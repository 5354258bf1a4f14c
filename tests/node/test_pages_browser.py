"""The node's pages in headless Chromium, as they are served."""

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from make_queue import receive, report, take
from nbcad.language.message import verbatim
from nbcad.node import pages
from nbcad.node.jobs import Jobs
from nbcad.node.study import State

TOKEN = "a-token-of-this-very-node"
HOSTILE = "<script>document.write(1)</script>"  # without =, which parts a name


@pytest.fixture
def node(chromium, tmp_path):
    """A queue and its served pages, of which no browser knows anything yet."""
    jobs = Jobs(tmp_path / "node")
    config = pages.Config(TOKEN, lambda: True, lambda: True, port=0)
    server = pages.serve(jobs, config)
    chromium.get_log("browser")  # what earlier pages left
    chromium.get(server.address)
    yield jobs, server.address
    chromium.delete_all_cookies()
    chromium.get("about:blank")
    server.close()
    jobs.close()


def _press(driver, words: str) -> None:
    """Press the button of these words, and wait for the page that it leads to."""
    (button,) = (button for button in driver.find_elements(By.TAG_NAME, "button") if button.text == words)
    driver.execute_script("window.left = true")
    button.click()
    arrived = "return !window.left && document.readyState === 'complete'"
    # Between two pages the driver has none to ask, and says so in various ways.
    WebDriverWait(driver, 20, 0.02, [WebDriverException]).until(lambda driver: driver.execute_script(arrived))


def _log_in(driver, token: str = TOKEN) -> str:
    driver.find_element(By.ID, "token").send_keys(token)
    _press(driver, "log in")
    return driver.find_element(By.TAG_NAME, "body").text


def test_a_doctor_logs_in_opens_a_report_and_has_a_study_tried_again(chromium, node):
    jobs, address = node
    receive(jobs, "2.25.1", PatientName="Li^Ming=李^明", PatientID="P7", SpecificCharacterSet="ISO_IR 192")
    study = take(jobs)
    jobs.analysed(study, report(study), "MS", 3, [study.folder / "a.dcm"])
    job = receive(jobs, "2.25.2", PatientName="Wu^Fang=吴^芳", PatientID="P8", SpecificCharacterSet="ISO_IR 192")
    jobs.set_aside(take(jobs), verbatim("its analysis took more than 900 s"))
    assert "This is not the token." in _log_in(chromium, "wrong token")
    assert "李 明, Li Ming" in _log_in(chromium)
    chromium.find_element(By.LINK_TEXT, "open").click()
    drawn = "return document.querySelector('.viewer')?.dataset.drawn !== undefined"
    WebDriverWait(chromium, 20, 0.02).until(lambda driver: driver.execute_script(drawn))
    assert chromium.title == "nbcad report"
    chromium.back()
    _press(chromium, "try again")
    assert jobs.study(job).state == State.WAITING and "No study." in chromium.find_element(By.TAG_NAME, "body").text
    _press(chromium, "log out")
    chromium.get(address)
    assert chromium.find_elements(By.ID, "token")
    complaints = [entry["message"] for entry in chromium.get_log("browser")]
    assert len(complaints) == 1 and "status of 403" in complaints[0], complaints  # to the wrong token


def test_a_hostile_name_runs_nothing(chromium, node):
    jobs, _ = node
    receive(jobs, "2.25.1", PatientName=HOSTILE, PatientID="<img src=x onerror=document.title=1>", sender="<b>A</b>")
    jobs.set_aside(take(jobs), verbatim(HOSTILE))
    text = _log_in(chromium)
    assert text.count(HOSTILE) == 2 and "<img src=x" in text and "from <b>A</b>" in text
    chromium.execute_script(
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s)"
    )
    assert chromium.title == "nbcad work list"
    complaints = [entry["message"] for entry in chromium.get_log("browser")]
    assert len(complaints) == 1 and "Content Security Policy" in complaints[0], complaints


def test_style_is_taken_and_nothing_is_wider_than_the_window(chromium, node):
    jobs, _ = node
    receive(jobs, "2.25." + "1" * 58, PatientName="A" * 60, PatientID="B" * 60)
    jobs.set_aside(take(jobs), verbatim("C" * 300))
    _log_in(chromium)
    assert chromium.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert chromium.execute_script("return document.documentElement.scrollWidth <= innerWidth")
