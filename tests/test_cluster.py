"""Work on a Dask cluster: the same results in the same order, whoever did it, and whoever was lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pydicom
import pytest
from distributed import Client, LocalCluster

import make_hospital
import map_work
from make_dicom import mr_image, write
from nbcad.cluster import GUIDE, on
from nbcad.dicom import read_archive
from nbcad.errors import ModelError, WorkerError
from nbcad.infer import Input, write_report
from nbcad.inference import models, organ
from nbcad.samples import build, conversion, lmdb_io
from nbcad.training import organ_features
from sample_database import tables

VARYING = ("UI", "DA", "TM", "DT")  # of a DICOM object: made anew each time


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two workers, processes of their own."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as made:
        yield made


def test_results_come_in_order_with_few_items_under_way(cluster):
    with on(cluster.scheduler_address, map) as by_dask:
        map_work.check_order(by_dask)


def test_error_of_an_item_is_raised_after_the_results_before_it(cluster):
    with on(cluster.scheduler_address, map) as by_dask:
        map_work.check_error(by_dask)


def test_work_of_a_killed_worker_is_done_by_another_and_none_twice(cluster, tmp_path):
    items = [(tmp_path / "died", number) for number in range(8)]
    with on(cluster.scheduler_address, map) as by_dask:
        assert list(by_dask(map_work.die_once, items)) == list(range(8))
    assert (tmp_path / "died").exists()


def test_worker_with_other_software_is_named_before_work_begins(cluster, monkeypatch):
    monkeypatch.setattr("nbcad.cluster.software", lambda: {"nbcad": "0.0.1"})
    with (
        pytest.raises(WorkerError, match=r"worker tcp://.*: nbcad is .*, not 0\.0\.1"),
        on(cluster.scheduler_address, map),
    ):
        pytest.fail("work began")


def test_worker_that_does_not_see_a_file_is_named_before_work_begins(cluster, tmp_path):
    with (
        pytest.raises(WorkerError, match=r"worker tcp://.*runs/final\.caffemodel does not exist there"),
        on(cluster.scheduler_address, map, [tmp_path / "runs" / "final.caffemodel"]),
    ):
        pytest.fail("work began")


def test_worker_of_several_threads_is_refused_as_a_net_serves_one():
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0") as broad,
        pytest.raises(WorkerError, match=r"it has 4 threads.*--nthreads 1"),
        on(broad.scheduler_address, map),
    ):
        pytest.fail("work began")


def test_worker_that_joins_later_is_checked_before_its_first_item():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as own,
        on(own.scheduler_address, map) as by_dask,
        Client(own.scheduler_address, set_as_default=False) as client,
    ):
        command = [sys.executable, "-m", "dask", "worker", own.scheduler_address, "--nthreads", "4", "--no-nanny"]
        late = subprocess.Popen(
            [*command, "--no-dashboard"], stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        try:
            client.wait_for_workers(2, timeout=60)
            with pytest.raises(WorkerError, match=r"worker tcp://.*it has 4 threads"):
                list(by_dask(map_work.twice_slowly, range(20)))
        finally:
            late.terminate()
            late.wait()


def test_no_scheduler_and_no_worker_are_errors_that_name_the_guide(monkeypatch):
    assert Path(GUIDE).is_file()
    monkeypatch.setattr("nbcad.cluster.FIRST_WORKER_S", 0.2)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(WorkerError, match=rf"no Dask scheduler answers at 127\.0\.0\.1:1; {GUIDE}"),
        on("127.0.0.1:1", map),
    ):
        pytest.fail("work began")
    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(WorkerError, match=f"has no worker; {GUIDE}"),
        on(empty.scheduler_address, map),
    ):
        pytest.fail("work began")


def _blacken_one(patient: int, index: int, image: pydicom.Dataset) -> None:
    """Leave no picture in one slice, which is refused when its pixels are read."""
    if (patient, index) == (4, 3):
        image.PixelData = bytes(len(image.PixelData))


def _rows(path: Path) -> dict[str, list]:
    """All rows of a sample database but those that tell when it was built."""
    return {name: rows for name, rows in tables(path).items() if name != "run"}


def test_sample_database_and_lmdbs_of_a_cluster_are_those_of_one_process(cluster, rng, tmp_path, monkeypatch):
    monkeypatch.setattr("nbcad.dicom.FILES_A_PART", 7)
    make_hospital.hospital(tmp_path / "in", rng, edit=_blacken_one)
    for name, address in (("one", None), ("cluster", cluster.scheduler_address)):
        path = tmp_path / name / "samples.sqlite"
        with on(address, map, [tmp_path]) as map_:
            path.parent.mkdir()
            path.with_suffix(".key").write_bytes(bytes(32))
            built = build.build(tmp_path / "in", [tmp_path / "in" / "annotations.csv"], path, map_=map_)
            assert built.refused == 1
            conversion.convert(path, tmp_path / name / "lmdb", n4=False, map_=map_, force=False)
    assert _rows(tmp_path / "one" / "samples.sqlite") == _rows(tmp_path / "cluster" / "samples.sqlite")
    info, same = (lmdb_io.read_info(tmp_path / name / "lmdb") for name in ("one", "cluster"))
    assert info == same
    for name in info.entries:
        one, other = (tmp_path / folder / "lmdb" / name / "data.mdb" for folder in ("one", "cluster"))
        assert one.read_bytes() == other.read_bytes()


def test_features_of_a_cluster_are_those_of_one_process_to_the_last_bit(cluster, eager, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(organ_features, "SLICES_A_PART", 64)
    weights = tmp_path / "final.caffemodel"
    eager.organ_net.save(str(weights))
    images = rng.integers(0, 256, (150, 64, 64), np.uint8)
    whole = organ.extract_features(eager.organ_net, eager.organ_transform, images, "fc7")
    for address in (None, cluster.scheduler_address):
        with on(address, map, [weights]) as map_:
            assert organ_features.features_of(weights, "cpu", images, "fc7", map_).tobytes() == whole.tobytes()


def test_models_that_changed_since_the_work_was_handed_out_are_refused(flow):
    files = models.load_models(flow.models, "cpu").files
    others = models.ModelFiles(files.folder, files.stage_folder, "cpu", (("organ_net", "0" * 64),))
    assert models.kept_models(files) is models.kept_models(files)
    with pytest.raises(ModelError, match="not the same for all workers"):
        models.kept_models(others)


@pytest.fixture(scope="module")
def studies(flow, tmp_path_factory) -> Path:
    """Three of the phantom's patients, one of them with a slice that cannot be decoded, and a patient of none."""
    folder = tmp_path_factory.mktemp("studies")
    for patient in sorted((flow.phantom / "dicom").iterdir())[:3]:
        shutil.copytree(patient, folder / patient.name)
    spoilt = next(series for series in read_archive(folder).series if series.weighting == "T2").slices[0].source.path
    image = pydicom.dcmread(spoilt)
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(spoilt)
    write(mr_image(np.zeros((60, 60))), folder / "black")
    (folder / "notes.txt").write_text("nothing")
    return folder


def _content(report: Path) -> dict[str, object]:
    """All files of a report by their names, without what is of its own time."""
    found: dict[str, object] = {}
    for path in report.rglob("*"):
        if path.suffix == ".dcm":
            found[str(path.relative_to(report))] = _timeless(pydicom.dcmread(path)).to_json_dict()
        elif path.suffix == ".json":
            found[path.name] = json.loads(path.read_text()) | {"timing_s": None}
        elif path.is_file():
            found[str(path.relative_to(report))] = path.read_bytes()
    return found


def _timeless(dataset: pydicom.Dataset) -> pydicom.Dataset:
    def blank(within, element):
        if element.VR in VARYING:
            del within[element.tag]

    dataset.walk(blank)
    return dataset


def test_cluster_loads_nets_once_and_reports_as_one_process_does(cluster, flow, studies, tmp_path):
    trained = models.load_models(flow.models, "cpu")
    write_report(Input(studies), tmp_path / "one", trained, "en")
    write_report(Input(studies), tmp_path / "cluster", trained, "en", dask=cluster.scheduler_address)
    one, other = _content(tmp_path / "one"), _content(tmp_path / "cluster")
    assert other == one
    assert one["report.json"]["summary"]["files_refused"] == 2 and "dicom/0003.sr.dcm" in one
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        loaded = client.run(map_work.loads_and_uses).values()
    assert max(times for times, _ in loaded) == 1 and sum(used for _, used in loaded) == 4


@pytest.mark.hospital
def test_infer_with_a_worker_killed_midway_reports_as_one_process_does(flow, tmp_path):
    images, infer = flow.phantom / "dicom", [sys.executable, "tools/infer.py", flow.phantom / "dicom"]
    common = ["--models", flow.models, "--out"]
    assert subprocess.run([*infer, *common, tmp_path / "one"], capture_output=True, check=False).returncode == 0
    with LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=":0") as cluster:
        command = [*infer, "--dask", cluster.scheduler_address, *common, tmp_path / "cluster"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with Client(cluster) as client:
            killed = _kill_one_at_work(client, process)
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
            assert killed not in client.scheduler_info()["workers"]
    assert _content(tmp_path / "cluster") == _content(tmp_path / "one")
    report = json.loads((tmp_path / "cluster" / "report.json").read_text())
    uids = [study["study_uid"] for study in report["studies"]]
    assert len(set(uids)) == len(uids) == len(list(images.iterdir()))


def _kill_one_at_work(client: Client, process: subprocess.Popen) -> str:
    """SIGKILL a worker that has the models loaded and works on a patient; its address."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        loaded = client.run(map_work.loads_and_uses)
        busy = [address for address, keys in client.processing().items() if keys and loaded[address][0]]
        if busy:
            os.kill(client.run(os.getpid, workers=busy[:1])[busy[0]], signal.SIGKILL)
            return busy[0]
        time.sleep(0.05)
    raise AssertionError("no worker began")


@pytest.mark.hospital
def test_item_that_kills_every_worker_is_an_error():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        on(cluster.scheduler_address, map) as by_dask,
        pytest.raises(WorkerError, match="2 workers were killed by the same piece of work"),
    ):
        list(by_dask(map_work.die, [1]))
