"""A study by DICOMweb: fetched whole or not at all, stored whole or told what was not, and no secret in any word."""

import base64
import json
import logging
import shutil
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from make_archive import DICOMWEB, ORTHANC, ask, free_port, orthanc
from make_dicom import mr_image, write
from make_dicomweb import Pacs, multipart, served
from nbcad.dicom.web import PASSWORD, TOKEN, USER, Service
from nbcad.errors import InputError, OutputError
from repository import run_tool

STUDY = "2.25.1"
SECRET = "s3cret-of-the-hospital"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch):
    for name in (TOKEN, USER, PASSWORD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _images(folder: Path, count: int, side: int = 24) -> list[Path]:
    """Files of one series; their names are their UIDs."""
    paths = []
    for n in range(count):
        image = mr_image(np.random.default_rng(n).integers(1, 900, (side, side)), (0, 0, 5.0 * n))
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.9.{n}"
        paths.append(write(image, folder / image.SOPInstanceUID))
    return paths


@pytest.fixture
def pacs(tmp_path) -> Pacs:
    return Pacs({path.name: path.read_bytes() for path in _images(tmp_path / "sent", 5)})


def _fetched(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("page", [1000, 5, 2, 1])
def test_fetched_study_is_the_same_files_however_the_service_lists_it(pacs, tmp_path, page):
    pacs.page = page
    with served(pacs) as url:
        Service(url).fetch(STUDY, tmp_path / "in")
    assert _fetched(tmp_path / "in") == {f"series/2.25.2/instances/{uid}": file for uid, file in pacs.objects.items()}


def test_charset_of_an_answer_is_no_obstacle(pacs, tmp_path):
    pacs.json_type = "application/dicom+json; charset=utf-8"
    with served(pacs) as url:
        Service(url).fetch(STUDY, tmp_path / "in")
        assert Service(url).store([tmp_path / "sent" / "2.25.9.0"]) == 1
    assert len(_fetched(tmp_path / "in")) == 5


def test_busy_service_is_asked_again(pacs, tmp_path):
    pacs.answers[f"/studies/{STUDY}/series/2.25.2/instances/2.25.9.3"] = [("503 Busy", "text/plain", b"")]
    with served(pacs) as url:
        Service(url).fetch(STUDY, tmp_path / "in")
    assert len(_fetched(tmp_path / "in")) == 5 and len(pacs.asked) == 3 + 5 + 1


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({}, None),
        ({TOKEN: SECRET}, f"Bearer {SECRET}"),
        ({USER: "系统", PASSWORD: SECRET}, "Basic " + base64.b64encode(f"系统:{SECRET}".encode()).decode()),
    ],
)
def test_credentials_of_the_environment_go_with_every_request(pacs, tmp_path, monkeypatch, environment, header):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    pacs.authorization = header
    with served(pacs) as url:
        service = Service(url)
        service.fetch(STUDY, tmp_path / "in")
        service.store(sorted((tmp_path / "sent").iterdir()))
    assert set(pacs.headers) == {header}


def test_credentials_come_from_nowhere_else(pacs, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login a password {SECRET}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with served(pacs) as url:
        Service(url).fetch(STUDY, tmp_path / "in")
    assert set(pacs.headers) == {None}


@pytest.mark.parametrize(
    "environment",
    [{USER: "a"}, {PASSWORD: SECRET}, {TOKEN: SECRET, USER: "a", PASSWORD: SECRET}, {TOKEN: f"{SECRET}\n"}],
)
def test_half_or_unsound_credentials_are_refused_before_anything_is_asked(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=TOKEN) as error:
        Service("http://127.0.0.1:9")
    assert SECRET not in str(error.value)


def test_no_word_of_ours_or_of_the_libraries_holds_the_secret(pacs, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(f"a:{SECRET}".encode()).decode()
    for environment in ({TOKEN: SECRET}, {USER: "a", PASSWORD: SECRET}):
        with monkeypatch.context() as patch, served(pacs) as url:
            for name, value in environment.items():
                patch.setenv(name, value)
            pacs.authorization = None
            Service(url).fetch(STUDY, tmp_path / "in")
            pacs.authorization = "another"
            with pytest.raises(InputError, match="401 Unauthorized") as error:
                Service(url).fetch(STUDY, tmp_path / "in")
        said = str(error.value) + caplog.text
        assert SECRET not in said and encoded not in said and "GET" in said


_OBJECT = f"/studies/{STUDY}/series/2.25.2/instances/2.25.9.2"
_LIST = f"/studies/{STUDY}/instances"
_MULTIPART = 'multipart/related; type="application/dicom"; boundary=a-boundary'


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [
        ("/studies", ("403 Forbidden", "text/plain", b""), "403 Forbidden"),
        ("/studies", ("404 Not Found", "text/html", b"<p>"), "root of its DICOMweb services"),
        ("/studies", ("200 OK", "text/html", b"<p>It works"), "what is not DICOMweb"),
        ("/studies", ("200 OK", "application/dicom+json", b"[]"), f"has no study {STUDY}"),
        ("/studies", ("200 OK", "application/dicom+json", b'[{"0020000D": {"vr": "UI", "Value": ["2.25.7"]}}]'),
         f"has no study {STUDY}"),
        ("/studies", ("500 Internal Server Error", "text/plain", b""), "500 Internal Server Error"),
        ("/studies", ("599 Strange", "text/plain", b""), "599"),
        (_LIST, ("200 OK", "application/dicom+json", b"[{}]"), "what is not DICOMweb"),
        (_OBJECT, ("404 Not Found", "text/plain", b""), "object 3 of 5 of study 2.25.1: it knows nothing of it"),
        (_OBJECT, ("200 OK", _MULTIPART, multipart(b"no DICOM")), "object 3 of 5 of study 2.25.1 by what is not"),
        (_OBJECT, ("200 OK", _MULTIPART, b""), "object 3 of 5 of study 2.25.1 by what is not DICOMweb"),
    ],
)  # fmt: skip
def test_what_a_service_does_wrong_is_one_line_and_nothing_is_analysed(pacs, tmp_path, path, answer, words):
    pacs.answers[path] = [answer] * 9
    with served(pacs) as url, pytest.raises(InputError) as error:
        Service(url).fetch(STUDY, tmp_path / "in")
    assert words in str(error.value) and str(error.value).startswith(url) and "\n" not in str(error.value)
    assert all(len(Path(name).parts) == 4 for name in _fetched(tmp_path / "in"))


def test_no_service_is_told_at_once(tmp_path):
    began = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        Service(f"http://127.0.0.1:{free_port()}/dicom-web").fetch(STUDY, tmp_path)
    assert time.monotonic() - began < 10


def test_half_a_study_is_no_study(pacs, tmp_path):
    pacs.count = 7
    with served(pacs) as url, pytest.raises(InputError, match="lists 5 of the 7 objects"):
        Service(url).fetch(STUDY, tmp_path / "in")


def test_object_in_the_place_of_another_is_refused(pacs, tmp_path):
    pacs.objects["2.25.9.2"] = pacs.objects["2.25.9.1"]
    with served(pacs) as url, pytest.raises(InputError, match=r"gives 2\.25\.9\.1 for 2\.25\.9\.2"):
        Service(url).fetch(STUDY, tmp_path / "in")


def test_uid_that_is_a_path_leads_nowhere(pacs, tmp_path):
    pacs.objects["../../../x"] = pacs.objects["2.25.9.0"]
    with served(pacs) as url, pytest.raises(InputError, match="by what is not DICOMweb: UID"):
        Service(url).fetch(STUDY, tmp_path / "in")
    assert {path.name for path in tmp_path.iterdir()} == {"sent"}


def test_memory_does_not_grow_with_the_study(tmp_path):
    pacs = Pacs({path.name: path.read_bytes() for path in _images(tmp_path / "sent", 40, side=500)})  # 0.5 MB each
    pacs.failures = dict.fromkeys(pacs.objects, 0xA700)  # else the service, in this same process, would keep them
    with served(pacs) as url:
        service = Service(url)
        tracemalloc.start()
        try:
            service.fetch(STUDY, tmp_path / "in")
            with pytest.raises(OutputError, match="refuses 40 of 40"):
                service.store(sorted((tmp_path / "sent").iterdir()))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(_fetched(tmp_path / "in")) == 40 and peak < 10e6


def test_stored_objects_are_the_same_bytes(tmp_path):
    paths, pacs = _images(tmp_path, 3), Pacs()
    with served(pacs) as url:
        assert Service(url).store(paths) == 3
    assert pacs.objects == {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (0xA700, "0xA700 out of resources"), (0xA701, "0xA701 out of resources"),
        (0xC123, "0xC123 not understood"), (0xC122, "0xC122 transfer syntax not supported"), (0x0666, "0x0666;"),
    ],
)  # fmt: skip
def test_what_is_not_stored_is_counted_and_told_why(tmp_path, code, why):
    paths = _images(tmp_path, 4)
    pacs = Pacs(failures={paths[1].name: code, paths[3].name: code})
    with served(pacs) as url, pytest.raises(OutputError, match=f"refuses 2 of 4 objects: {why}") as error:
        Service(url).store(paths)
    assert str(tmp_path) in str(error.value) and set(pacs.objects) == {paths[0].name, paths[2].name}


def test_service_that_does_not_say_what_it_stored_has_not_stored_it(tmp_path):
    pacs = Pacs(
        answers={"/studies": [("200 OK", "application/dicom+json", b"{}"), ("403 Forbidden", "text/plain", b"")]}
    )
    with served(pacs) as url:
        with pytest.raises(OutputError, match="refuses 1 of 1 objects: no reason given"):
            Service(url).store(_images(tmp_path, 1))
        with pytest.raises(OutputError, match=r"403 Forbidden to object 1 of 2 .*2\.25\.9\.0\)"):
            Service(url).store(_images(tmp_path, 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of them"),
        (["x", "--dicomweb", "http://h/d", "--study", "1.2"], "one of them"),
        (["--dicomweb", "http://h/d"], "go together"),
        (["x", "--study", "1.2"], "go together"),
        (["x", "--store"], "go together"),
        (["--dicomweb", f"http://a:{SECRET}@h/d", "--study", "1.2"], "environment"),
        (["--dicomweb", "pacs/dicom-web", "--study", "1.2"], "no address"),
        (["--dicomweb", "http://h:x/d", "--study", "1.2"], "no address"),
        (["--dicomweb", "http://h/d?a=b", "--study", "1.2"], "no address"),
        (["--dicomweb", "http://h/d", "--study", "../x"], "no UID"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_without_the_secret(tmp_path, arguments, words):
    done = run_tool("infer", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2 and words in done.stderr and SECRET not in done.stderr


def _study_of(flow, folder: Path) -> Pacs:
    """The T2 series of a phantom patient, as files in ``folder`` too."""
    folder.mkdir()
    pacs = Pacs()
    for path in sorted(sorted((flow.phantom / "dicom").iterdir())[0].rglob("IM*")):
        image = dcmread(path, stop_before_pixels=True)
        if "T2" in image.SeriesDescription.upper():
            pacs.study, pacs.series = image.StudyInstanceUID, image.SeriesInstanceUID
            pacs.objects[image.SOPInstanceUID] = path.read_bytes()
            shutil.copy(path, folder / image.SOPInstanceUID)
    return pacs


def test_study_by_dicomweb_has_the_report_of_its_files_and_is_stored(flow, tmp_path):
    pacs = _study_of(flow, tmp_path / "in")
    given = dict(pacs.objects)
    models = ("--models", flow.models)
    with served(pacs) as url:
        done = run_tool(
            "infer", "--dicomweb", url, "--study", pacs.study, "--store", *models, "--out", tmp_path / "out"
        )
        again = run_tool("infer", "--dicomweb", url, "--study", pacs.study, *models, "--out", tmp_path / "out")
    local = run_tool("infer", tmp_path / "in", *models, "--out", tmp_path / "local")
    assert (done.returncode, local.returncode) == (0, 0), done.stderr + local.stderr
    report, same = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("out", "local"))
    address = f"{url}/studies/{pacs.study}"
    assert report["studies"] == same["studies"] and report["origin"] == address
    assert {f["path"] for f in report["files"]} == {f"{address}/series/{pacs.series}/instances/{uid}" for uid in given}
    assert address in (tmp_path / "out" / "report.html").read_text()
    written = {path.read_bytes() for path in (tmp_path / "out" / "dicom").iterdir()}
    assert {file for uid, file in pacs.objects.items() if uid not in given} == written
    assert f"stored: {len(written)} DICOM objects in {url}" in done.stdout
    assert again.returncode == 1 and "--force" in again.stderr  # before anything was asked
    assert len(pacs.asked) == 3 + len(given) + len(written)


@pytest.mark.hospital
@pytest.mark.skipif(not (Path(ORTHANC).exists() and DICOMWEB.exists()), reason="needs Debian's orthanc-dicomweb")
def test_orthanc_gives_a_study_and_takes_its_report_unchanged(flow, tmp_path, monkeypatch):
    pacs = _study_of(flow, tmp_path / "in")
    header = {"Authorization": "Basic " + base64.b64encode(f"nbcad:{SECRET}".encode()).decode()}
    options = {"Plugins": [str(DICOMWEB)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
               "AuthenticationEnabled": True, "RegisteredUsers": {"nbcad": SECRET}}  # fmt: skip
    with orthanc(tmp_path, **options) as (address, _):
        for file in pacs.objects.values():
            ask(f"{address}/instances", file, **header)
        tool = ("infer", "--dicomweb", f"{address}/dicom-web", "--study", pacs.study, "--models", flow.models)
        stranger = run_tool(*tool, "--out", tmp_path / "none")
        monkeypatch.setenv(USER, "nbcad")
        monkeypatch.setenv(PASSWORD, SECRET)
        done = run_tool(*tool, "--store", "--out", tmp_path / "out")
        again = run_tool(*tool, "--out", tmp_path / "again")
        Service(f"{address}/dicom-web").fetch(pacs.study, tmp_path / "back")
        with pytest.raises(InputError, match="has no study"):
            Service(f"{address}/dicom-web").fetch("2.25.7", tmp_path / "back")
        held = [
            ask(f"{address}/instances/{n}/file", **header) for n in json.loads(ask(f"{address}/instances", **header))
        ]
    assert stranger.returncode == 1 and "401 Unauthorized" in stranger.stderr and not (tmp_path / "none").exists()
    assert done.returncode == 0 and SECRET not in done.stdout + done.stderr, done.stderr
    written = [path.read_bytes() for path in (tmp_path / "out" / "dicom").iterdir()]
    assert again.returncode == 0 and f"{len(written)} ignored" in again.stdout, again.stderr
    assert sorted(held) == sorted([*pacs.objects.values(), *written]) and len(written) >= 2
    assert sorted(_fetched(tmp_path / "back").values()) == sorted(held)
