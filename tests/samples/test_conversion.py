import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pydicom
import pytest

from make_dicom import mr_image, write
from nbcad.annotation.annotations import HEADER
from nbcad.errors import DatabaseError, OutputExistsError
from nbcad.runtime import parallel
from nbcad.runtime.json_file import as_json, write_json
from nbcad.samples import build, conversion, lmdb_io
from nbcad.samples.database import SampleDatabase
from sample_database import query

CORES = parallel.on_cores(2)
NAMES = sorted(f"{task}_{split}" for task in ("organ", "stage") for split in ("train", "val", "test"))
SECRETS = {
    "PatientID": "SECRETID", "PatientName": "Secret^Name", "AccessionNumber": "SECRETACC", "StudyID": "SECRETSTUDY",
    "PatientBirthDate": "20130517", "InstitutionName": "Secret Hospital", "StudyDate": "20180321",
}  # fmt: skip


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """12 patients of six 180x180 slices whose headers are full of secrets, and their sample database."""
    folder = tmp_path_factory.mktemp("hospital")
    rng = np.random.default_rng(3)
    lines = [",".join(HEADER)]
    for number in range(12):
        for index in range(6):
            secrets = SECRETS | {"PatientID": f"SECRETID{number}"}
            image = mr_image(rng.integers(50, 900, (180, 180)), (0, 0, 5.0 * index), **secrets)
            image.StudyInstanceUID, image.SeriesInstanceUID = f"2.25.77{number}", f"2.25.88{number}"
            image.PixelSpacing = [1.5, 1.5]
            write(image, folder / "dicom" / f"SECRETFOLDER{number}" / str(index))
            box = "L1,20,24,42,46" if number % 2 and index < 2 else "normal,,,,"
            lines.append(f"{image.SOPInstanceUID},0,{('thorax', 'adrenal', 'retroperitoneum')[index % 3]},{box}")
    (folder / "annotations.csv").write_text("\n".join(lines) + "\n")
    build.build(folder / "dicom", [folder / "annotations.csv"], folder / "samples.sqlite")
    return folder


@pytest.fixture(scope="module")
def reference(hospital):
    """Its LMDBs, converted without any interruption."""
    conversion.convert(hospital / "samples.sqlite", hospital / "reference", n4=False, map_=CORES, force=False)
    return fingerprints(hospital / "reference")


def fingerprints(folder: Path) -> dict[str, str]:
    """What a whole set of LMDBs holds; fails if any of it is unfinished or does not belong to the others."""
    info = lmdb_io.read_info(folder)
    assert sorted([*info.entries, lmdb_io.INFO]) == sorted(p.name for p in folder.iterdir())
    for name, count in info.entries.items():
        assert len(lmdb_io.read(folder / name)[0]) == count
    return {name: lmdb_io.fingerprint(folder / name) for name in info.entries}


def start(hospital, out, **options):
    """The tool as a process in a session of its own."""
    command = [sys.executable, "tools/make_lmdb.py", "--database", hospital / "samples.sqlite", "--out", out, "--force"]
    return subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip


def workers_of(process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def session_is_empty(session: int) -> bool:
    """No process but zombies is left in a session."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return False
    return True


def test_set_is_whole_and_says_what_it_was_made_from(hospital, reference):
    assert sorted(reference) == NAMES
    info = lmdb_io.read_info(hospital / "reference")
    assert info.n4 is False and info.software["pydicom"] == pydicom.__version__
    with SampleDatabase.open(hospital / "samples.sqlite") as database:
        lmdb_io.check_made_from(hospital / "reference", database)
    ((samples,),) = query(hospital / "samples.sqlite", "SELECT count(*) FROM sample")
    assert sum(info.entries.values()) == samples
    assert not list(hospital.glob(".*"))


def test_any_number_of_workers_gives_the_same_bytes(hospital, reference, tmp_path):
    conversion.convert(hospital / "samples.sqlite", tmp_path / "x", n4=False, map_=map, force=False)
    assert fingerprints(tmp_path / "x") == reference


def test_workers_do_not_wait_for_the_opencv_threads_of_their_parent(hospital, reference, tmp_path):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        cv2.createCLAHE(2.0, (8, 8)).apply(np.zeros((2048, 2048), np.uint8))  # the threads begin with their first work
        conversion.convert(hospital / "samples.sqlite", tmp_path / "x", n4=False, map_=CORES, force=False)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
    assert fingerprints(tmp_path / "x") == reference


def test_conversion_killed_at_random_leaves_a_whole_set_every_time(hospital, reference, tmp_path, rng):
    out, work = tmp_path / "lmdb", tmp_path / ".lmdb.part"
    old = lmdb_io.LmdbInfo(n4=False, entries={"organ_train": 2}, samples_sha256="", software={})
    lmdb_io.write(out / "organ_train", np.zeros((2, 4, 4), np.uint8), [0, 1])
    write_json(old, out / "info.json")
    before, done, span = fingerprints(out), 0, 1.0
    for _ in range(5):
        process = start(hospital, out)
        wait_until((work / "plan.json").exists)
        started = time.monotonic()
        try:
            process.wait(rng.uniform(0, span))
            span = time.monotonic() - started
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        wait_until(lambda pid=process.pid: session_is_empty(pid))
        process.communicate()
        assert fingerprints(out) in (before, reference)
        if (work / "done").exists():
            assert len((work / "done").read_text().splitlines()) >= done
            done = len((work / "done").read_text().splitlines())
    process = start(hospital, out)
    assert process.wait() == 0, process.communicate()[1]
    process.communicate()
    assert fingerprints(out) == reference
    assert [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def test_what_was_done_before_a_kill_is_not_done_again(hospital, reference, tmp_path):
    process = start(hospital, tmp_path / "x")
    journal = tmp_path / ".x.part" / "done"
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {int(n) for n in journal.read_text().split()}
    spoilt = next(iter(done))
    with SampleDatabase.open(hospital / "samples.sqlite") as database:
        sample = next(s for s in database.samples_of(spoilt) if s.task == "organ")
    name = f"organ_{sample.split}"
    with (tmp_path / ".x.part" / f"{name}.images").open("r+b") as file:
        file.seek(sample.key * 64 * 64)
        file.write(bytes(64 * 64))
    conversion.convert(hospital / "samples.sqlite", tmp_path / "x", n4=False, map_=map, force=False)
    assert not lmdb_io.read(tmp_path / "x" / name)[0][sample.key].any()
    assert {n for n, f in fingerprints(tmp_path / "x").items() if f != reference[n]} == {name}


@pytest.mark.parametrize("change", ["n4", "samples_sha256", "software", "boot"])
def test_what_was_done_by_other_means_is_thrown_away(hospital, reference, tmp_path, change):
    work = tmp_path / ".x.part"
    work.mkdir()
    info = lmdb_io.read_info(hospital / "reference")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (work / "plan.json").write_text(json.dumps(as_json(info) | {"boot": boot, change: "another"}))
    (work / "done").write_text("".join(f"{n}\n" for n in range(1, 13)))
    for name in NAMES:
        (work / f"{name}.images").write_bytes(bytes(64 * 64 * info.entries[name]))
    conversion.convert(hospital / "samples.sqlite", tmp_path / "x", n4=False, map_=map, force=False)
    assert fingerprints(tmp_path / "x") == reference


def test_killed_worker_is_one_line_and_the_next_run_goes_on(hospital, reference, tmp_path):
    process = start(hospital, tmp_path / "x")
    wait_until(lambda: workers_of(process))
    os.kill(workers_of(process)[0], signal.SIGKILL)
    errors = process.communicate()[1].splitlines()
    assert process.returncode == 1 and "worker process was killed" in errors[-1]
    assert not any("Traceback" in line for line in errors)
    assert not (tmp_path / "x").exists()
    process = start(hospital, tmp_path / "x")
    process.communicate()
    assert process.returncode == 0 and fingerprints(tmp_path / "x") == reference


def test_full_disk_is_one_line_and_leaves_the_old_set(hospital, reference, tmp_path):
    shutil.copytree(hospital / "reference", tmp_path / "x")
    full = 300_000  # bytes a file may have; the kernel then says EFBIG
    process = start(
        hospital, tmp_path / "x", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))
    )
    errors = process.communicate()[1].splitlines()
    assert process.returncode == 1 and "no space for" in errors[-1]
    assert not any("Traceback" in line for line in errors)
    assert fingerprints(tmp_path / "x") == reference


def test_second_conversion_into_one_folder_is_refused(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "ORPHANS_END_S", 0.2)
    (tmp_path / ".x.part").mkdir()
    held = os.open(tmp_path / ".x.part", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(DatabaseError, match="another process"):
        conversion.convert(hospital / "samples.sqlite", tmp_path / "x", n4=False, map_=map, force=False)
    os.close(held)


def test_existing_output_is_kept_without_force_and_what_is_no_lmdb_always(hospital, reference, tmp_path):
    with pytest.raises(OutputExistsError):
        conversion.convert(hospital / "samples.sqlite", hospital / "reference", n4=False, map_=map, force=False)
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(DatabaseError, match=r"thesis.docx"):
        conversion.convert(hospital / "samples.sqlite", tmp_path, n4=False, map_=map, force=True)


def test_file_that_changed_since_the_build_stops_the_conversion(hospital, tmp_path):
    shutil.copytree(hospital / "dicom", tmp_path / "dicom")
    build.build(tmp_path / "dicom", [hospital / "annotations.csv"], tmp_path / "samples.sqlite")
    path = tmp_path / "dicom" / "SECRETFOLDER4" / "2"
    image = pydicom.dcmread(path)
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(path)
    with pytest.raises(DatabaseError, match=r"SECRETFOLDER4/2 changed since the database was built"):
        conversion.convert(tmp_path / "samples.sqlite", tmp_path / "x", n4=False, map_=map, force=False)
    assert not (tmp_path / "x").exists()


def test_nothing_of_a_patient_reaches_the_lmdbs(hospital, reference):
    """Keys are numbers; a value is a Datum of an image and a label; no identifier stands anywhere in the files."""
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in (hospital / "dicom").rglob("*") if p.is_file()]
    secrets = {str(value) for value in SECRETS.values()} | {"SECRET"}
    for header in headers:
        secrets |= {str(element.value) for element in header if element.VR == "UI" and element.tag.element != 0x16}
    for path in (hospital / "reference").rglob("*"):
        if path.is_file():
            found = [s for s in secrets if s.encode() in path.read_bytes()]
            assert not found, f"{path}: {found}"
    for name in NAMES:
        path = str(hospital / "reference" / name)
        with lmdb.open(path, readonly=True, lock=False) as environment, environment.begin() as transaction:
            for number, (key, value) in enumerate(transaction.cursor()):
                assert key == b"%010d" % number
                datum = lmdb_io.caffe_pb2.Datum.FromString(value)
                assert {field.name for field, _ in datum.ListFields()} - {"label"} == {
                    "channels", "height", "width", "data",
                }  # fmt: skip
                assert len(datum.data) == datum.height * datum.width in (32 * 32, 64 * 64)
