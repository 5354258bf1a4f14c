"""Orthanc as a PACS that only this machine can reach."""

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"  # which is in no user's PATH
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def orthanc(folder: Path, node_port: int = 1, **options: object) -> Iterator[tuple[str, int]]:
    """A running Orthanc that knows NBCAD on ``node_port``, with further options; its addresses (REST, DICOM port)."""
    rest, port = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"), "Plugins": [],
        "HttpPort": rest, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomPort": port,
        "DicomAet": "ARCHIVE", "DicomCheckCalledAet": True, "DicomCheckModalityHost": True,
        "DicomModalities": {"nbcad": ["NBCAD", "127.0.0.1", node_port]},
    } | options  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([ORTHANC, folder / "orthanc.json"], stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{rest}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                ask(f"{address}/system")
                break
            except urllib.error.HTTPError:  # it is there, and wants to know who asks
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield address, port
    finally:
        process.kill()
        process.wait()


def ask(address: str, data: bytes | None = None, method: str | None = None, **headers: str) -> bytes:
    """An answer of the REST interface."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(address, data, headers, method=method), timeout=60) as answer:
        return answer.read()
