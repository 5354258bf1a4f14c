"""The pages as a WSGI application."""

import hashlib
import ipaddress
import json
import re
import shutil
import sqlite3
import time
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from flask import Flask, Response, abort, redirect, render_template, request, send_from_directory, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from prometheus_client import make_wsgi_app
from werkzeug.exceptions import HTTPException

from nbcad.language.catalogue import Language
from nbcad.language.message import EMPTY, message
from nbcad.node import log
from nbcad.node.jobs import Jobs
from nbcad.node.metrics import registry
from nbcad.node.pages.config import Config
from nbcad.node.pages.login import SECONDS, Door
from nbcad.node.pages.patient import patient_of
from nbcad.node.study import State, Study

A_PAGE = 50  # studies
# As `nbcad.report` names them, whose import would bring Caffe into the node's own process.
HTML, PATIENTS = "report.html", "patients"
_SHIFT = timedelta(hours=12)  # that a login lasts at most
_OPEN = ("login", "style", "health", "metrics")  # without a login
_NO_FRAMES = "frame-ancestors 'none'"
_POLICY = f"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; {_NO_FRAMES}"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# The policy that a report's page states of itself, within its first bytes: hashes of its own style and script.
_STATED = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]+)">')
_HEAD = 1000
_JOB = f"<int(max={2**63 - 1}):job>"  # what SQLite can hold
_STATES = {
    State.RECEIVING: message("receiving"),
    State.WAITING: message("waiting"),
    State.ANALYSING: message("analysing"),
    State.SENDING: message("sending"),
    State.DONE: message("done"),
    State.SET_ASIDE: message("set aside"),
}


class _App(Flask):
    def log_exception(self, exc_info: Any) -> None:
        """Log an exception to the node's log without anything that could name a patient."""
        log.defect(exc_info[0], exc_info[2])


def create_app(jobs: Jobs, config: Config) -> Flask:
    """Return the web application with the pages of a queue."""
    app = _App(__name__, static_folder=None)
    app.config.update(
        # Of the token: who has a session keeps it over a restart of the node, and loses it when the token is changed.
        SECRET_KEY=hashlib.sha256(b"session " + config.token.encode()).digest(),
        SESSION_COOKIE_NAME="nbcad",
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=_SHIFT,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        MAX_CONTENT_LENGTH=16 << 10,
    )
    _prepare_templates(app, Language(config.language))
    CSRFProtect(app)
    _add_login(app, Door(config.token))
    _add_work_list(app, jobs)
    _add_reports(app, jobs)
    _add_monitoring(app, jobs, config)

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            if name != "Content-Security-Policy" or name not in response.headers:
                response.headers[name] = value
        return response

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> ResponseReturnValue:
        return render_template("error.html.j2", code=error.code), error.code or 500

    return app


def _prepare_templates(app: Flask, language: Language) -> None:
    app.jinja_options = {
        "extensions": ["jinja2.ext.i18n"],
        "autoescape": True,  # Flask itself does so by a template's suffix, which must not be .j2
        "undefined": jinja2.StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    environment: Any = app.jinja_env
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(language.gettext, language.ngettext, newstyle=True)
    environment.filters |= {
        "label": language.label,
        "rendered": language.render,
        "state": lambda state: language.render(_STATES[state]),
        "when": lambda seconds: datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "minutes")[:16],
    }
    environment.globals |= {
        "html_language": language.tag,
        "banner": language.gettext("Research use only. Not for clinical diagnosis."),
    }
    own = (resources.files("nbcad.node.pages") / "pages.css").read_text(encoding="utf-8")
    style = (resources.files("nbcad") / "report/templates/page.css").read_text(encoding="utf-8") + own

    @app.get("/style.css", endpoint="style")
    def give_style() -> ResponseReturnValue:
        return Response(style, mimetype="text/css")


def _add_login(app: Flask, door: Door) -> None:
    @app.before_request
    def only_who_is_logged_in() -> ResponseReturnValue | None:
        if request.endpoint in _OPEN or session.get("logged_in"):
            return None
        return redirect(url_for("login"), 303)

    @app.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        if request.method == "GET":
            return render_template("login.html.j2", opens=True)
        opens = door.opens(request.form.get("token", ""), request.remote_addr or "")
        if opens:
            session.clear()
            session["logged_in"] = True
            return redirect(url_for("work_list"), 303)
        log.warn("wrong token", address=request.remote_addr, asked_to_wait=opens is None)
        page = render_template("login.html.j2", opens=opens)
        return (page, 403) if opens is False else (page, 429, {"Retry-After": f"{SECONDS:.0f}"})

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        session.clear()
        return redirect(url_for("login"), 303)


def _add_work_list(app: Flask, jobs: Jobs) -> None:
    @app.get("/")
    def work_list() -> ResponseReturnValue:
        asked = request.args.get("state", "")
        state = State(asked) if asked in set(State) else None
        counts = jobs.counts()
        pages = max(1, -(-(counts[state] if state else sum(counts.values())) // A_PAGE))
        page = min(max(1, request.args.get("page", 1, type=int)), pages)
        studies = jobs.studies(state, limit=A_PAGE, offset=(page - 1) * A_PAGE)
        return render_template(
            "work_list.html.j2",
            rows=[(study, patient_of(study)) for study in studies],
            counts=counts,
            state=state,
            page=page,
            pages=pages,
            now=time.time(),
            set_aside=State.SET_ASIDE,
        )

    @app.post(f"/studies/{_JOB}/retry")
    def retry(job: int) -> ResponseReturnValue:
        study = _study(jobs, job)
        if study.state == State.SET_ASIDE and jobs.put_back(study, EMPTY):
            log.info("study tried again", job=job)
        return redirect(url_for("work_list", state=State.SET_ASIDE), 303)


def _study(jobs: Jobs, job: int) -> Study:
    return jobs.study(job) or abort(404)


def _add_reports(app: Flask, jobs: Jobs) -> None:
    @app.get(f"/studies/{_JOB}/{HTML}")
    def report(job: int) -> ResponseReturnValue:
        return _page(_study(jobs, job), HTML)

    @app.get(f"/studies/{_JOB}/{PATIENTS}/<int:number>.html")
    def report_of_patient(job: int, number: int) -> ResponseReturnValue:
        return _page(_study(jobs, job), f"{PATIENTS}/{number:04d}.html")


def _page(study: Study, name: str) -> Response:
    """Return a page of a study's report, with the security policy that the page states."""
    if study.report is None:
        abort(404)
    response = send_from_directory(study.report, name, conditional=False, etag=False)
    response.headers["Content-Security-Policy"] = f"{_stated_policy(study.report / name)}; {_NO_FRAMES}"
    return response


def _stated_policy(path: Path) -> str:
    with path.open("rb") as file:
        stated = _STATED.search(file.read(_HEAD))
    return stated[1].decode() if stated else _POLICY


def _add_monitoring(app: Flask, jobs: Jobs, config: Config) -> None:
    metrics_of = make_wsgi_app(registry(jobs))

    @app.get("/health")
    def health() -> ResponseReturnValue:
        _only_from_this_machine()
        free = shutil.disk_usage(jobs.folder).free
        signs = {
            "database": _reachable(jobs),
            "worker": config.worker_alive(),
            "disk": free >= config.least_free,
            "storage_scp": config.listening(),
        }
        healthy = all(signs.values())
        body = json.dumps({"healthy": healthy, **signs, "disk_free_bytes": free})
        return Response(body, 200 if healthy else 503, mimetype="application/json")

    @app.get("/metrics")
    def metrics() -> ResponseReturnValue:
        _only_from_this_machine()
        return Response.from_app(metrics_of, request.environ)


def _reachable(jobs: Jobs) -> bool:
    try:
        jobs.counts()
    except sqlite3.Error:
        return False
    return True


def _only_from_this_machine() -> None:
    """Answer 404 to other machines, also to those behind a proxy on this machine."""
    asked_by_proxy = "Forwarded" in request.headers or "X-Forwarded-For" in request.headers
    if asked_by_proxy or not ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback:
        abort(404)
