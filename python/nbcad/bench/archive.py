"""Benchmark of a folder of many patients: the growth of the memory of `nbcad infer` with the number of slices."""

import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from nbcad import cli
from nbcad.bench import Curve, Figure, child
from nbcad.bench.study import MODELS, STAGER

SLICES = (500, 5000, 20000)
OF_A_PATIENT = 500  # slices
ANALYSED = 20  # slices of a T2; the others are of a scout, which config/series_rules.toml leaves out
SIDE, PIXEL_MM, STEP_MM = 64, 4.0, 5.0
KIB_A_SLICE = 3.0  # mostly for its header

# The parts that differ from file to file; each keeps its length.
_PATIENT, _SERIES, _IMAGE, _PLACE = "1000000", "2000000", "3000000", "+0000.0"


def measure_memory(folder: Path, size: int, models: Path = MODELS, stager: Path = STAGER) -> list[Figure | Curve]:
    """Analyse folders with more and more patients, each of whom has the same number of slices.

    Args:
        folder: empty, for the files and the reports.
        size: largest number of slices; larger ones among `SLICES` are left out.
        models: folder of the trained models.
        stager: folder of the stager to use with them.

    Returns:
        The memory for each folder, and the memory that a further slice adds.

    Raises:
        ModelError: the models are not trained; the message says how to make them.
    """
    costs = {}
    for slices in [n for n in SLICES if n <= size] or [size]:
        dicom, report = folder / f"dicom_{slices}", folder / "report"
        write_patients(dicom, slices)
        command: child.Command = [*child.NBCAD, "infer", dicom, "--out", report, "--force"]
        costs[slices] = child.run([*command, "--models", models, "--stage", stager], (cli.DONE,))
    fewest, most = min(costs), max(costs)
    growth = (costs[most].memory - costs[fewest].memory) / max(1, most - fewest)
    memory: list[tuple[float, float]] = [(slices, cost.memory / 2**20) for slices, cost in costs.items()]
    return [
        *(Figure(f"memory, peak, {slices} slices", mib, "MiB") for slices, mib in memory),
        Figure("memory that a further slice adds", growth / 1024, "KiB", KIB_A_SLICE),
        Figure(f"{most} slices to report, {ANALYSED} of {OF_A_PATIENT} analysed", costs[most].wall_s, "s"),
        Curve("slices", "slices", "MiB", {"nbcad infer, highest memory": memory}),
    ]


def write_patients(folder: Path, slices: int) -> None:
    """Write small images, `OF_A_PATIENT` of each patient: copies of the bytes of one that pydicom encoded."""
    folder.mkdir()
    t2, scout = _encoded("t2"), _encoded("scout")
    for number in range(slices):
        patient, place = divmod(number, OF_A_PATIENT)
        image = t2 if place < ANALYSED else scout
        series = 2 * patient + (place >= ANALYSED)
        for old, new in (
            (_PATIENT, f"{int(_PATIENT) + patient}"),
            (_SERIES, f"{int(_SERIES) + series}"),
            (_IMAGE, f"{int(_IMAGE) + number}"),
            (_PLACE, f"{STEP_MM * place:+07.1f}"),
        ):
            image = image.replace(old.encode(), new.encode())
        (folder / f"{number:06d}").write_bytes(image)


def _encoded(description: str) -> bytes:
    """Return the bytes of a DICOM file of random grey levels."""
    image = pydicom.Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, f"1.2.3.{_PATIENT}.{_SERIES}.{_IMAGE}"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.3.{_PATIENT}", f"1.2.3.{_PATIENT}.{_SERIES}"
    image.PatientID, image.Modality, image.QualityControlImage = f"BENCH{_PATIENT}", "MR", "YES"
    image.SeriesDescription = description
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], ["0", "0", _PLACE]
    image.PixelSpacing, image.Rows, image.Columns = [PIXEL_MM] * 2, SIDE, SIDE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.PixelData = np.random.default_rng(1).integers(0, 500, (SIDE, SIDE), np.uint16).tobytes()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()
