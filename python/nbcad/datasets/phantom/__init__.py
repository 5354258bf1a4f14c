"""A seeded generator of children's abdominal MR with and without neuroblastoma, as DICOM studies with annotations.

The images are drawn and computed, and hold no patient's data. They show the variety on which the programs must be
tried: several scanners, sequences, orientations and artefacts, organs and fluids as bright as tumours, and tumours that
look as their INRGSS stage makes them look (see `lesions`). Performance on them says nothing about that on patients.
"""

import csv
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from nbcad.annotation.annotations import HEADER
from nbcad.datasets import VENDORS
from nbcad.datasets.phantom import lesions
from nbcad.datasets.phantom.acquisition import Images, Scan, acquire, lesion_boxes, plan, region
from nbcad.datasets.phantom.anatomy import Anatomy, build
from nbcad.datasets.phantom.dicom_writer import (
    Placement,
    add_pixel_description,
    add_series,
    store,
    study_header,
    write_image,
)
from nbcad.datasets.phantom.patients import Patient, Purpose, list_patients
from nbcad.datasets.phantom.physics import Tissues
from nbcad.datasets.phantom.scanners import SCANNERS, Protocol, protocols
from nbcad.errors import InputError
from nbcad.runtime.files import replacing_folder
from nbcad.runtime.progress import progress

PATIENTS_HEADER = ["patient_id", "stage", "age_months", "sex", "vendor", "primary_site"]
SLICES = 64  # largest number in a series


@dataclass
class Study:
    """One generated study before it is written."""

    patient: Patient
    anatomy: Anatomy
    scan: Scan
    series: list[tuple[Protocol, Images]]


def generate(
    out: str | Path,
    patients: int,
    seed: int,
    vendors: tuple[str, ...] = VENDORS,
    workers: int | None = None,
    max_slices: int = SLICES,
) -> None:
    """Generate patients into a new folder: ``dicom/``, ``annotations.csv`` and ``patients.csv``.

    Args:
        out: the folder; replaced as a whole when everything is written.
        patients: number of patients.
        seed: the same seed, number and vendors give the same bytes, whatever ``workers`` is.
        vendors: keys of `SCANNERS`.
        workers: number of processes; one per core by default.
        max_slices: largest number of slices in a series; fewer slices lie further apart.

    Raises:
        InputError: a vendor is unknown.
    """
    unknown = sorted(set(vendors) - set(SCANNERS))
    if unknown or not vendors:
        raise InputError(f"vendor {', '.join(unknown) or '(none)'} is not known; choose from {', '.join(VENDORS)}")
    people = list_patients(patients, seed, vendors)
    workers = min(workers or len(os.sched_getaffinity(0)), patients)
    with replacing_folder(out) as folder:
        task = partial(_generate_one, folder=folder, max_slices=max_slices)
        if workers == 1:
            rows = list(progress(map(task, people), total=patients, desc="phantom", unit="patient"))
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                results = pool.map(task, people)
                rows = list(progress(results, total=patients, desc="phantom", unit="patient"))
        _write_csv(folder / "annotations.csv", HEADER, [row for annotations, _ in rows for row in annotations])
        _write_csv(folder / "patients.csv", PATIENTS_HEADER, [row for _, row in rows])


def make_anatomy(patient: Patient) -> Anatomy:
    """Return one patient's anatomy with its lesions, which does not depend on the vendor."""
    canvas, levels = build(patient.child(), patient.rng(Purpose.ANATOMY))
    tumours = lesions.paint(canvas, levels, patient.stage, patient.site, patient.rng(Purpose.LESIONS))
    return Anatomy(canvas.child, levels, canvas.labels, tumours.lesions, canvas.origin, canvas.step, tumours.names)


def make_study(patient: Patient, max_slices: int = SLICES) -> Study:
    """Compute one patient's anatomy and images."""
    anatomy, scanner = make_anatomy(patient), SCANNERS[patient.vendor]
    rng = patient.rng(Purpose.IMAGES)
    scan = plan(anatomy, rng, max_slices)
    tissues = Tissues.of_patient(rng)
    series = [(p, acquire(anatomy, tissues, scan, scanner, p, rng)) for p in protocols(scanner, rng)]
    return Study(patient, anatomy, scan, series)


def write_study(study: Study, folder: Path) -> list[list]:
    """Write a study's files below ``folder``, and return its annotation rows.

    File names carry neither order nor meaning: they are numbered at random across all series. A row has the columns of
    `annotations.HEADER`. Each image has a row for each lesion, or one row that says that there is none.
    """
    patient, scan, scanner = study.patient, study.scan, SCANNERS[study.patient.vendor]
    rng = patient.rng(Purpose.FILES)
    folder.mkdir(parents=True)
    names = iter(1 + rng.permutation(scan.slices * len(study.series)))
    rows = []
    for number, (protocol, images) in enumerate(study.series, start=1):
        header = study_header(patient, study.anatomy.child, scanner)
        add_series(header, scan, scanner, protocol, number)
        placement = Placement(scan, images)
        top = rng.uniform(*scanner.top)
        add_pixel_description(header, scanner, placement, top)
        values = store(images.pixels, scanner, top)
        instances = _instance_numbers(scan, rng)
        for index in range(scan.slices):
            path = folder / f"IM{next(names):04d}"
            position = placement.position(index)
            sop_uid = write_image(header, path, placement.turn(values[index]), position, int(instances[index]))
            boxes = lesion_boxes(placement.turn(images.lesions[index]), images.pixel_mm)
            organ = region(study.anatomy, scan, index)
            rows += [[sop_uid, 0, organ, patient.stage, *box] for box in boxes]
            if not boxes:
                rows.append([sop_uid, 0, organ, "normal", "", "", "", ""])
    return rows


def _instance_numbers(scan: Scan, rng: np.random.Generator) -> np.ndarray:
    """Return the Instance Number of each slice, from the lowest on."""
    numbers = np.arange(1, scan.slices + 1)
    if scan.shuffled:  # interleaved: the odd slices, then the even ones
        numbers = np.argsort(np.argsort(np.arange(scan.slices) % 2, kind="stable")) + 1
    return numbers[::-1] if scan.descending else numbers


def _generate_one(patient: Patient, folder: Path, max_slices: int) -> tuple[list[list], list]:
    """Write one patient's study, and return its rows of annotations.csv and its row of patients.csv."""
    cv2.setNumThreads(1)  # the patients already occupy all cores
    study = make_study(patient, max_slices)
    annotations = write_study(study, folder / "dicom" / patient.patient_id)
    child = study.anatomy.child
    return annotations, [
        patient.patient_id, patient.stage, child.age_months, child.sex, patient.vendor, patient.site,
    ]  # fmt: skip


def _write_csv(path: Path, header: list[str], rows: list[list]) -> None:
    """Write a CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
