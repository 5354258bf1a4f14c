"""Benchmark of the DICOM node: several senders send studies at once, until an archive has all results."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage, MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from nbcad.bench import Figure, child
from nbcad.bench.study import MODELS, STAGER, write_study
from nbcad.dicom import read_archive, read_pixels
from nbcad.errors import NbcadError
from nbcad.imaging.preprocess import enhance, organ_inputs
from nbcad.inference import heat, organ
from nbcad.inference.models import Models, load_models
from nbcad.node.jobs import Jobs
from nbcad.node.study import State
from nbcad.runtime import verbosity

SLICES = 40  # of a study
STUDIES = 20  # at most
SIZE_OF_A_STUDY = 1000  # ``size`` divided by this is the number of studies
SENDERS, NODE, ARCHIVE = 4, "NBCAD", "ARCHIVE"
QUIET_S = 1.0
LONGEST_S = 900.0
HOST, LOG = "127.0.0.1", "node.log"


def measure_node(folder: Path, size: int, models: Path = MODELS, stager: Path = STAGER) -> list[Figure]:
    """Send copies of one phantom study, each under its own UIDs.

    Args:
        folder: empty, for the node and the study.
        size: one study per `SIZE_OF_A_STUDY`, up to `STUDIES`.
        models: folder of the trained models.
        stager: folder of the stager to use with them.

    Returns:
        Studies a minute, from the first object sent to the last study answered, and the nets' share of the time.

    Raises:
        NbcadError: the node ended, or did not answer all studies within `LONGEST_S`.
    """
    dicom = write_study(folder / "dicom", SLICES)
    images = [dcmread(path) for path in sorted(dicom.rglob("*")) if path.is_file()]
    studies = max(1, min(STUDIES, size // SIZE_OF_A_STUDY))
    nets_s = seconds_in_nets(dicom, load_models(models, "cpu", stager))
    with archive() as results_to, node(folder, models, stager, results_to) as (process, port):
        started = time.monotonic()
        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(lambda number: send(images, number, port), range(studies)))
        received_s = time.monotonic() - started
        wait_for(studies, folder, process)
        wall_s = time.monotonic() - started
    return [
        Figure("studies", studies, ""),
        Figure("slices a study", SLICES, ""),
        Figure("studies a minute, received, analysed and answered", 60 * studies / wall_s, "1/min"),
        Figure("objects received a second, beside the analysis", studies * SLICES / received_s, "1/s"),
        Figure("nets, a study", nets_s, "s"),
        Figure("share of the time in the nets", studies * nets_s / wall_s, ""),
    ]


def seconds_in_nets(dicom: Path, models: Models) -> float:
    """Return the seconds that both nets take for a study once they are warm."""
    (series,) = read_archive(dicom).series
    slices, pixels = read_pixels(series)
    volume = enhance(pixels)
    size = models.organ_net.blobs["data"].data.shape[-1]
    inputs = organ_inputs(volume, slices[0].geometry, slices[0].spacing, size)
    for _ in range(2):
        started = time.monotonic()
        organ.extract_features(models.organ_net, models.organ_transform, inputs, models.svm.blob)
        heat.heat_maps(models.stage_fcn, models.stage_transform, slices, volume)
    return time.monotonic() - started


@contextmanager
def archive() -> Iterator[int]:
    """Run an archive that takes all results, and yield its port."""
    entity = AE(ARCHIVE)
    for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(sop_class)
    server = entity.start_server((HOST, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    assert server is not None  # a server that does not block is returned
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def node(folder: Path, models: Path, stager: Path, results_to: int) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run a node, and yield its process and port once it is ready."""
    config = folder / "node.toml"
    config.write_text(f'[receive]\nquiet_s = {QUIET_S}\nreserve_mib = 0\n[pages]\nbind = ""\n')
    command: list[str | Path] = [*child.NBCAD, "serve", "--config", config, "--folder", folder / "node"]
    command += ["--port", "0"]
    command += ["--models", models, "--stage", stager, "--destination", f"{ARCHIVE}@{HOST}:{results_to}"]
    command += [word for number in range(SENDERS) for word in ("--sender", f"SCANNER{number}")]
    heard = os.environ | {verbosity.VARIABLE: verbosity.NORMAL}  # the log of a quiet node does not say where it listens
    log = folder / LOG
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL, env=heard)
    try:
        yield process, _port(process, log)
    finally:
        process.terminate()
        process.wait()


def _port(process: subprocess.Popen, log: Path) -> int:
    """Wait for a node to start, and return its port.

    Raises:
        NbcadError: the node ended.
    """
    while process.poll() is None:
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "started":
                return int(event["port"])
        time.sleep(0.1)
    raise NbcadError(f"nbcad serve ended with {process.returncode}: {log.read_text()}")


def send(images: Sequence[Dataset], number: int, port: int) -> None:
    """Send a study under its own UIDs, over one association.

    Raises:
        NbcadError: the node refuses the association or an object.
    """
    entity = AE(f"SCANNER{number % SENDERS}")
    entity.add_requested_context(MRImageStorage)
    association = entity.associate(HOST, port, ae_title=NODE)
    if not association.is_established:
        raise NbcadError("the node refuses a sender")
    for index, image in enumerate(images):
        copy = Dataset(image)
        copy.file_meta = image.file_meta
        copy.StudyInstanceUID, copy.SeriesInstanceUID = f"2.25.1{number}1", f"2.25.1{number}2"
        copy.SOPInstanceUID = f"2.25.1{number}3{index + 1000}"
        if (status := association.send_c_store(copy).Status) != 0:
            raise NbcadError(f"the node answers {status:04X}")
    association.release()


def wait_for(studies: int, folder: Path, process: subprocess.Popen) -> None:
    """Wait until a number of studies are answered.

    Raises:
        NbcadError: the node ended, set a study aside, or took longer than `LONGEST_S`.
    """
    deadline = time.monotonic() + LONGEST_S
    with closing(Jobs(folder / "node")) as jobs:
        while (counts := jobs.counts()).get(State.DONE, 0) < studies:
            if process.poll() is not None or counts.get(State.SET_ASIDE) or time.monotonic() > deadline:
                raise NbcadError(f"the node did not answer all studies: {counts}\n{(folder / LOG).read_text()}")
            time.sleep(0.1)
