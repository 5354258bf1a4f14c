"""Fixtures of the node's tests."""

import gc
import subprocess
import threading
from contextlib import closing

import pytest

from nbcad.node.config import Tls
from nbcad.node.jobs import Jobs


@pytest.fixture
def sockets_of_pynetdicom():
    """It leaves those to the garbage collector whose peer was gone first, and a thread that ends late holds its own."""
    before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(timeout=30)
    assert not [thread for thread in started if thread.is_alive()], "an association was left open"
    gc.collect()


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
