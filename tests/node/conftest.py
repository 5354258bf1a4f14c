"""Fixtures of the node's tests."""

import gc
import json
import shutil
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from nbcad.inference.models import seal_organ
from nbcad.inference.suitability import LIMITS, SuitabilityLimits
from nbcad.node.config import Tls
from nbcad.node.jobs import Jobs
from nbcad.runtime.json_file import write_json


@pytest.fixture
def sockets_of_pynetdicom(caplog):
    """It leaves those to the garbage collector whose peer was gone first.

    A thread that ends late holds its own, and so does a logged error, by its traceback.
    """
    before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(timeout=30)
    assert not [thread for thread in started if thread.is_alive()], "an association was left open"
    for when in ("setup", "call"):
        caplog.get_records(when).clear()
    gc.collect()


@pytest.fixture(scope="session")
def trusting(flow, tmp_path_factory) -> Path:
    """Trained models that take any image for suited and find a region on any: these tests are of the node."""
    folder = tmp_path_factory.mktemp("trusting")
    shutil.copytree(flow.models, folder / "runs")
    organ = folder / "runs" / "organ"
    write_json(SuitabilityLimits(unlikeness=1e9, alike=0.0, hardly_alike=0.0, recognised=0.0), organ / LIMITS)
    svm = json.loads((organ / "svm.json").read_text())
    svm["thresholds"] = {"probability": 0.0, "familiarity": -1e9}
    (organ / "svm.json").write_text(json.dumps(svm))
    seal_organ(organ)
    return folder / "runs"


@pytest.fixture
def queue(tmp_path):
    """An empty queue."""
    with closing(Jobs(tmp_path / "node")) as made:
        yield made


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Tls:
    """A certificate of 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=node",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return Tls(str(certificate), str(key), str(certificate))
