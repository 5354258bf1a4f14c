"""The node's pages: what they show of the queue, to whom, and that they show nothing else."""

import json
import os
import re
import socket
import stat
import time
import urllib.error

import pytest
from prometheus_client.parser import text_string_to_metric_families

from html_page import HOSTILE, Page
from make_archive import ask
from make_queue import receive, report, take
from nbcad.errors import InputError
from nbcad.language.message import EMPTY, message, verbatim
from nbcad.node import metrics, pages
from nbcad.node.jobs import Jobs
from nbcad.node.pages import app, login
from nbcad.node.study import State

TOKEN = "a-token-of-this-very-node"
TIMES = r"\d{4}-\d\d-\d\d \d\d:\d\d"


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(tmp_path / "node")
    yield jobs
    jobs.close()


def _config(**changes) -> pages.Config:
    facts = {"worker_alive": lambda: True, "listening": lambda: True, "port": 0}
    return pages.Config(**{"token": TOKEN} | facts | changes)


@pytest.fixture
def client(jobs):
    """A browser of somebody who is not logged in."""
    return app.create_app(jobs, _config()).test_client()


@pytest.fixture
def doctor(client):
    """A browser of somebody who is."""
    assert _log_in(client).status_code == 303
    return client


def _form(client, path="/login") -> str:
    """The CSRF token that a page gives."""
    return re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)[1]


def _log_in(client, token=TOKEN, **options):
    return client.post("/login", data={"token": token, "csrf_token": _form(client)}, **options)


def _list(client, **query) -> Page:
    answer = client.get("/", query_string=query)
    assert answer.status_code == 200
    return Page(answer.text)


def _rows(page: Page) -> int:
    return len(page.all("tr")) - 1


PATHS = ["/", "/?state=done", "/studies/1/report.html", "/studies/1/patients/0001.html", "/studies/7", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_logged_in_is_only_shown_where_to(client, jobs, path):
    receive(jobs, "2.25.1", PatientName="Secret^Child")
    answer = client.get(path)
    assert (answer.status_code, answer.location) == (303, "/login") and "Secret" not in answer.text
    assert "Secret" not in client.get("/login").text


def test_the_token_opens_the_pages_until_logged_out(client):
    wrong = _log_in(client, TOKEN[:-1])
    assert wrong.status_code == 403 and "This is not the token." in wrong.text and client.get("/").status_code == 303
    answer = _log_in(client)
    assert (answer.status_code, answer.location) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    assert client.get("/").status_code == 200
    assert client.post("/logout", data={"csrf_token": _form(client, "/")}).location == "/login"
    assert client.get("/").status_code == 303


def test_login_lasts_a_shift_over_a_restart_but_not_over_another_token(doctor, jobs, monkeypatch):
    cookie = doctor.get_cookie("nbcad").value
    for token, status in ((TOKEN, 200), (TOKEN + "2", 303)):
        other = app.create_app(jobs, _config(token=token)).test_client()
        other.set_cookie("nbcad", cookie)
        assert other.get("/").status_code == status
    tomorrow = time.time() + 13 * 3600
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    assert doctor.get("/").status_code == 303


def test_wrong_tokens_of_one_address_are_few_a_minute(client, monkeypatch):
    for _ in range(login.MOST_TRIES):
        assert _log_in(client, "wrong").status_code == 403
    answer = _log_in(client)
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "60" and "wait a minute" in answer.text
    assert _log_in(client, environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 303
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert _log_in(client).status_code == 303


def test_addresses_that_tried_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(login, "MOST_ADDRESSES", 10)
    door = login.Door(TOKEN)
    for n in (1, 2):
        assert [door.opens("wrong", f"10.0.0.{n}") for _ in range(login.MOST_TRIES + 1)][-1] is None
    assert [door.opens("wrong", f"10.0.0.{n}") for n in range(41, 50)] == [False] * 9
    assert door.opens("wrong", "10.0.0.2") is None
    assert door.opens("wrong", "10.0.0.1") is False  # the one that tried first was forgotten
    assert door.opens("\u4e2d", "10.0.0.49") is False and door.opens(TOKEN, "10.0.0.49") is True


def test_nothing_is_done_without_the_page_s_own_form(doctor, jobs):
    job = receive(jobs, "2.25.1")
    jobs.set_aside(take(jobs), verbatim("no model"))
    for path in (f"/studies/{job}/retry", "/logout"):
        for form in ({}, {"csrf_token": "x"}):
            answer = doctor.post(path, data=form)
            assert answer.status_code == 400 and "This was not done" in answer.text
    assert doctor.get(f"/studies/{job}/retry").status_code == 405
    assert jobs.study(job).state == State.SET_ASIDE and doctor.get("/").status_code == 200
    stranger = doctor.application.test_client()
    assert stranger.post("/login", data={"token": TOKEN}).status_code == 400


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/style.css", "/health"])
def test_no_page_is_kept_framed_or_runs_anything(doctor, path):
    headers = doctor.get(path).headers
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert "unsafe" not in policy and "script" not in policy
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"


def test_list_tells_of_each_study_where_it_is_what_was_found_and_why_not(doctor, jobs):
    assert "No study." in _list(doctor).text
    receive(jobs, "2.25.1", PatientName="Li^Ming=李^明", PatientID="P7", SpecificCharacterSet="ISO_IR 192")
    study = take(jobs)
    jobs.analysed(study, report(study), "MS", 3, [study.folder / "a.dcm", study.folder / "b.dcm"])
    jobs.delivered(jobs.unsent(study)[0])
    receive(jobs, "2.25.2", PatientID="")
    jobs.set_aside(take(jobs), verbatim("its analysis took more than 900 s"))
    receive(jobs, "2.25.3", sender="OTHER", PatientID="P9")
    page = _list(doctor)
    first, second, third = (part.strip() for part in re.split(r"2\.25\.[123]", page.text)[1:])
    assert re.match(rf"{TIMES} 1 object from OTHER receiving {TIMES} 2 Test Child without ID", first)
    assert re.match(
        rf"{TIMES} 1 object from SCANNER set aside {TIMES} its analysis took more than 900 s try again", second
    )
    assert re.match(rf"{TIMES} 1 object from SCANNER sending {TIMES} 1 of 2 results sent MS 3 open {TIMES}$", third)
    assert "李 明, Li Ming P7 2026-01-02 MR abdomen" in page.text
    assert "all 3 receiving 1 waiting 0 analysing 0 sending 1 done 0 set aside 1" in page.text
    assert _rows(_list(doctor, state="sending")) == 1 and "No study." in _list(doctor, state="done").text
    assert _rows(_list(doctor, state="' OR 1")) == 3


def test_study_without_lesions_or_stage_says_so(doctor, jobs):
    receive(jobs, "2.25.1")
    study = take(jobs)
    jobs.analysed(study, report(study), None, 0, [])
    assert re.search(rf"done {TIMES} none is suggested 0 open", _list(doctor).text)


def test_hostile_words_stay_words(doctor, jobs):
    name = "<script>alert(1)</script>&lt;b&gt;"
    receive(jobs, "2.25.1", sender=HOSTILE, PatientName=name, PatientID="<img src=x onerror=alert(1)>")
    jobs.set_aside(take(jobs), message("an object cannot be sent: {error}", error=HOSTILE))
    answer = doctor.get("/")
    page = Page(answer.text)
    assert page.scripts == {} and page.all("img") == [] and "<b>" not in answer.text
    for words in (name, "<img src=x onerror=alert(1)>", f"1 object from {HOSTILE}"):
        assert words in page.text


def test_images_that_cannot_be_read_leave_the_patient_open(doctor, jobs):
    study = jobs.study(receive(jobs, "2.25.1"))
    (image,) = study.images.iterdir()
    image.write_bytes(b"no DICOM any more")
    assert "2.25.1" in _list(doctor).text and "Test Child" not in _list(doctor).text
    image.unlink()
    study.images.rmdir()
    assert _rows(_list(doctor)) == 1


def test_many_studies_are_listed_by_pages_the_newest_first(doctor, jobs, monkeypatch):
    monkeypatch.setattr(app, "A_PAGE", 5)
    for n in range(12):
        receive(jobs, f"2.25.{1000 + n}")
    shown = [re.findall(r"2\.25\.(\d+)", _list(doctor, page=page).text) for page in (1, 2, 3)]
    assert [len(uids) for uids in shown] == [5, 5, 2]
    assert [*shown[0], *shown[1], *shown[2]] == [str(number) for number in range(1011, 999, -1)]
    assert [a["href"] for a in _list(doctor, page=2).all("a") if "rel" in a] == ["/?page=1", "/?page=3"]
    for page, rows in ((0, 5), (-3, 5), (99, 2), ("x", 5), ("9" * 30, 2)):
        assert _rows(_list(doctor, page=page)) == rows
    assert _rows(_list(doctor, state="receiving", page=3)) == 2
    assert "/?state=receiving&page=2" in [a["href"] for a in _list(doctor, state="receiving", page=3).all("a")]


def test_study_that_was_set_aside_is_tried_again_and_no_other(doctor, jobs):
    job = receive(jobs, "2.25.1")
    jobs.set_aside(take(jobs), verbatim("no model"))
    form = {"csrf_token": _form(doctor, "/")}
    assert doctor.post(f"/studies/{job}/retry", data=form).status_code == 303
    assert (jobs.study(job).state, jobs.study(job).reason) == (State.WAITING, EMPTY)
    study = jobs.take()
    assert doctor.post(f"/studies/{job}/retry", data=form).status_code == 303
    assert jobs.study(job) == study
    assert doctor.post("/studies/77/retry", data=form).status_code == 404


def test_kept_report_is_shown_as_it_is_under_the_policy_that_it_states(doctor, jobs):
    receive(jobs, "2.25.1")
    study = take(jobs)
    assert doctor.get(f"/studies/{study.job}/report.html").status_code == 404
    jobs.analysed(study, report(study, language="zh"), "M", 1, [])
    answer = doctor.get(f"/studies/{study.job}/report.html", buffered=True)
    assert answer.data == (jobs.study(study.job).report / "report.html").read_bytes()
    (stated,) = (meta["content"] for meta in Page(answer.text).all("meta") if "http-equiv" in meta)
    assert answer.headers["Content-Security-Policy"] == f"{stated}; frame-ancestors 'none'" and "sha256-" in stated
    assert answer.headers["Cache-Control"] == "no-store"
    assert f"/studies/{study.job}/report.html" in [a["href"] for a in _list(doctor).all("a")]


def test_page_without_a_policy_gets_the_strictest(doctor, jobs):
    receive(jobs, "2.25.1")
    study = take(jobs)
    folder = report(study)
    (folder / "report.html").write_text(
        "<script>1</script>" + " " * 5000 + '<meta http-equiv="Content-Security-Policy" content="a">'
    )
    jobs.analysed(study, folder, "M", 1, [])
    policy = doctor.get(f"/studies/{study.job}/report.html", buffered=True).headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'")


def test_only_pages_of_reports_are_reached(doctor, jobs, tmp_path):
    receive(jobs, "2.25.1")
    study = take(jobs)
    folder = report(study)
    (folder / "patients").mkdir()
    for name in ("report.json", "patients/0001.html", "patients/x.html", "dicom.dcm"):
        (folder / name).write_text("a file")
    jobs.analysed(study, folder, "M", 1, [])
    here = f"/studies/{study.job}"
    assert doctor.get(f"{here}/patients/0001.html", buffered=True).text == "a file"
    inside = (study.folder / "images").name
    for path in (
        "report.json", "dicom.dcm", "patients/x.html", "patients/0002.html", "patients/",
        f"patients/../../{inside}", "../../../queue.sqlite", "..%2f..%2fqueue.sqlite", "%2e%2e/%2e%2e/queue.sqlite",
        "patients/..%5c..%5cx.html", "report.html%00", "report.html/..", "",
    ):  # fmt: skip
        assert doctor.get(f"{here}/{path}").status_code == 404, path
    for job in ("2", "-1", "1e0", "1%2f..", "99999999999999999999"):
        assert doctor.get(f"/studies/{job}/report.html").status_code == 404, job


@pytest.mark.parametrize("failing", [None, "database", "worker", "disk", "storage_scp"])
def test_health_tells_what_fails_and_of_nobody(jobs, failing):
    receive(jobs, "2.25.1", PatientName="Secret^Child")
    config = _config(
        worker_alive=lambda: failing != "worker",
        listening=lambda: failing != "storage_scp",
        least_free=1 << 60 if failing == "disk" else 0,
    )
    client = app.create_app(jobs, config).test_client()
    if failing == "database":
        jobs.close()
    answer = client.get("/health")
    assert answer.status_code == (503 if failing else 200) and answer.mimetype == "application/json"
    signs = json.loads(answer.text)
    assert signs.pop("disk_free_bytes") > 0 and signs.pop("healthy") is (failing is None)
    assert {name for name, sound in signs.items() if not sound} == ({failing} if failing else set())
    assert len(signs) == 4


@pytest.mark.parametrize("path", ["/health", "/metrics"])
def test_monitoring_is_for_this_machine_only(client, path):
    assert client.get(path).status_code == 200
    assert client.get(path, environ_base={"REMOTE_ADDR": "::1"}).status_code == 200
    assert client.get(path, environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 404
    for header in ("X-Forwarded-For", "Forwarded"):
        assert client.get(path, headers={header: "for=127.0.0.1"}).status_code == 404


def _values(text: str) -> dict[tuple, float]:
    """Values of Prometheus's text by name and labels."""
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_metrics_count_what_the_node_did_and_tell_of_nobody(jobs):
    before = _values(app.create_app(jobs, _config()).test_client().get("/metrics").text)
    metrics.OBJECTS_RECEIVED.inc(3)
    metrics.ASSOCIATIONS_REFUSED.inc()
    metrics.ANALYSIS_SECONDS.observe(7)
    receive(jobs, "2.25.1", PatientName="Secret^Child", sender="SCANNER")
    receive(jobs, "2.25.2")
    jobs.settle(0)
    jobs.take()
    text = app.create_app(jobs, _config()).test_client().get("/metrics").text
    values = _values(text)
    grown = {key: values[key] - before[key] for key in values if "nbcad_a" in key[0] or "nbcad_o" in key[0]}
    assert grown["nbcad_objects_received_total",] == 3 and grown["nbcad_associations_refused_total",] == 1
    assert grown["nbcad_analysis_seconds_count",] == 1 and grown["nbcad_analysis_seconds_sum",] == 7
    assert (grown["nbcad_analysis_seconds_bucket", "5.0"], grown["nbcad_analysis_seconds_bucket", "10.0"]) == (0, 1)
    assert values["process_resident_memory_bytes",] > 1e6
    assert {state: values["nbcad_studies", state] for state in State} == dict.fromkeys(State, 0) | {
        State.WAITING: 1,
        State.ANALYSING: 1,
    }
    assert 0 < values["nbcad_queue_age_seconds",] < 60
    assert not re.search(r"Secret|2\.25|SCANNER", text)


def test_pages_are_in_the_reader_s_language(jobs):
    receive(jobs, "2.25.1")
    slope = message("(0028,1053) Rescale Slope {value} makes all pixels equal", value="3")
    jobs.set_aside(take(jobs), message("no series could be analysed: {reason}", reason=slope))
    client = app.create_app(jobs, _config(language="zh")).test_client()
    _log_in(client)
    page = _list(client)
    assert {"lang": "zh-CN"} in page.all("html") and "工作列表" in page.text and "已搁置" in page.text
    assert "Rescale Slope 3 使全部像素相等" in page.text


def test_token_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "a" / "token"
    token = pages.read_token(path)
    assert len(token) >= 32 and pages.read_token(path) == token and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    path.write_text("short\n")
    with pytest.raises(InputError, match="shorter than 20"):
        pages.read_token(path)


def test_pages_are_served_until_closed(jobs):
    server = pages.serve(jobs, _config())
    try:
        assert json.loads(ask(f"{server.address}/health"))["healthy"]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(f"{server.address}/health", **{"X-Forwarded-For": "10.0.0.2"})
        with socket.create_connection(("127.0.0.1", server.port)) as idle, pytest.raises(OSError, match="in use"):
            idle.sendall(b"GET /")
            pages.serve(jobs, _config(port=server.port))
    finally:
        server.close()
    with pytest.raises(urllib.error.URLError):
        ask(f"{server.address}/health")
    with pytest.raises(InputError, match="no IP address"):
        pages.serve(jobs, _config(host="localhost"))
