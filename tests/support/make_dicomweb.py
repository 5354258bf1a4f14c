"""A DICOMweb service for tests, as far as PS3.18 has to go for us, that can fail in the ways in which one fails."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

ROOT = "/dicom-web"
_BOUNDARY = "a-boundary"


@dataclass
class Pacs:
    """What the service holds, and what it does wrong."""

    objects: dict[str, bytes] = field(default_factory=dict)  # by SOPInstanceUID, as files
    study: str = "2.25.1"
    series: str = "2.25.2"
    authorization: str | None = None  # the header that must be sent
    page: int = 1000  # objects that are listed at once
    count: int | None = None  # of objects that it says to have
    answers: dict[str, list[tuple[str, str, bytes]]] = field(
        default_factory=dict
    )  # first ones by path: status, type, body
    failures: dict[str, int] = field(default_factory=dict)  # reasons by SOPInstanceUID against storing it
    json_type: str = "application/dicom+json"
    asked: list[str] = field(default_factory=list)
    headers: list[str | None] = field(default_factory=list)  # Authorization of each request

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"].removeprefix(ROOT)
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}")
        self.headers.append(environ.get("HTTP_AUTHORIZATION"))
        body = _body(environ)
        if self.authorization and environ.get("HTTP_AUTHORIZATION") != self.authorization:
            status, kind, answer = "401 Unauthorized", "text/plain", b"no"
        elif self.answers.get(path):
            status, kind, answer = self.answers[path].pop(0)
        elif environ["REQUEST_METHOD"] == "POST":
            status, kind, answer = self._store(body)
        else:
            status, kind, answer = self._give(path, environ["QUERY_STRING"])
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(answer)))])
        return [answer]

    def _give(self, path: str, query: str) -> tuple[str, str, bytes]:
        study = f"/studies/{self.study}"
        if path == "/studies":
            found = [{"StudyInstanceUID": self.study, "NumberOfStudyRelatedInstances": self.count or len(self.objects)}]
            return self._listed(found if f"StudyInstanceUID={self.study}" in query.split("&") else [])
        if path == f"{study}/instances":
            offset = int((re.search(r"offset=(\d+)", query) or [0, 0])[1])
            uids = list(self.objects)[offset : offset + self.page]
            return self._listed([{"SOPInstanceUID": uid, "SeriesInstanceUID": self.series} for uid in uids])
        uid = path.removeprefix(f"{study}/series/{self.series}/instances/")
        if uid not in self.objects:
            return "404 Not Found", "text/plain", b"not here"
        return (
            "200 OK",
            f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
            multipart(self.objects[uid]),
        )

    def _listed(self, found: list[dict]) -> tuple[str, str, bytes]:
        tags = {"StudyInstanceUID": ("0020000D", "UI"), "SeriesInstanceUID": ("0020000E", "UI"),
                "SOPInstanceUID": ("00080018", "UI"), "NumberOfStudyRelatedInstances": ("00201208", "IS")}  # fmt: skip
        entries = [
            {tags[keyword][0]: {"vr": tags[keyword][1], "Value": [value]} for keyword, value in each.items()}
            for each in found
        ]
        return "200 OK", self.json_type, json.dumps(entries).encode()

    def _store(self, body: bytes) -> tuple[str, str, bytes]:
        stored, failed = [], []
        for part in body.split(b"\r\n--")[1:-1]:
            file = part.split(b"\r\n\r\n", 1)[1]
            dataset = dcmread(DicomBytesIO(file))
            named = {
                "00081150": {"vr": "UI", "Value": [dataset.SOPClassUID]},
                "00081155": {"vr": "UI", "Value": [dataset.SOPInstanceUID]},
            }
            if dataset.SOPInstanceUID in self.failures:
                failed.append(named | {"00081197": {"vr": "US", "Value": [self.failures[dataset.SOPInstanceUID]]}})
            else:
                self.objects[dataset.SOPInstanceUID] = file
                stored.append(named)
        answer = {"00081199": {"vr": "SQ", "Value": stored}} if stored else {}
        answer |= {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
        status = "200 OK" if not failed else "202 Accepted" if stored else "409 Conflict"
        return status, self.json_type, json.dumps(answer).encode()


def multipart(*files: bytes) -> bytes:
    parts = b"".join(
        b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (_BOUNDARY.encode(), file) for file in files
    )
    return parts + b"--%s--" % _BOUNDARY.encode()


def _body(environ) -> bytes:
    if environ.get("HTTP_TRANSFER_ENCODING") != "chunked":
        return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body = b""
    while size := int(environ["wsgi.input"].readline(), 16):
        body += environ["wsgi.input"].read(size)
        environ["wsgi.input"].readline()
    return body


class _Silent(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(pacs: Pacs):
    """The service on this machine; its URL."""
    with WSGIServer(("127.0.0.1", 0), _Silent) as server:
        server.set_app(pacs)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{ROOT}"
        finally:
            server.shutdown()
            thread.join()
