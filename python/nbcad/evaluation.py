"""What the trained models are worth: the paper's measures on patients held out, and baselines beside them."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbcad import caffe_net, cli, database, lmdb_io, localise, organ
from nbcad.errors import DatabaseError
from nbcad.labels import NORMAL, OTHER, organ_labels, stage_labels
from nbcad.localise import OperatingPoint
from nbcad.metrics import LesionCount, Measures, accuracy, confusion, match_lesions, one_against_rest
from nbcad.pipeline import Models, SeriesAnalysis, analyse_series, study_stage
from nbcad.preprocess import Box, enhance
from nbcad.series import read_pixels

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)
MIN_SLICES = (1, 2, 3)
FALSE_LESIONS_A_PATIENT = 0.75  # at most, on the validation patients; on others it may be more
LINEAR_SAMPLES = 10_000
SAME_LESION = 0.5  # share of the smaller of two boxes on neighbouring slices that lies in the other


@dataclass
class Truth:
    """What the database says of one series, slice by slice."""

    patient: str
    stage: str
    organs: list[str | None]
    lesions: list[dict[int, Box]]  # boxes by slice index


def choose_operating_point(sample_database: Path, weights: Path, n4: bool) -> dict:
    """Choose what makes heat a lesion, on the validation patients.

    The most sensitive setting with at most `FALSE_LESIONS_A_PATIENT`; among equals the one with fewest false lesions.

    Args:
        sample_database: SQLite file.
        weights: caffemodel of the stage net.
        n4: as in preprocessing.

    Returns:
        The threshold and the least number of slices, with the figures of every setting tried.
    """
    net, transform = localise.to_fully_convolutional(weights), caffe_net.transform_of(localise.TRAIN_VAL)
    tried = {(t, m): LesionCount() for t in THRESHOLDS for m in MIN_SLICES}
    patients = set()
    with closing(database.connect(sample_database)) as connection:
        for number, truth in _split(connection, "val"):
            series, _ = database.load_series(connection, number)
            slices, pixels = read_pixels(series)
            heat = localise.heat_maps(net, transform, slices, enhance(pixels, n4))
            patients.add(truth.patient)
            for threshold, min_slices in tried:
                found = localise.find_lesions(heat, slices, OperatingPoint(threshold, min_slices))
                tried[threshold, min_slices] += match_lesions(truth.lesions, found)
    allowed = FALSE_LESIONS_A_PATIENT * len(patients)
    within = {point: count for point, count in tried.items() if count.false <= allowed}
    if within:
        best = max(within, key=lambda point: (within[point].hit, -within[point].false))
    else:
        best = min(tried, key=lambda point: tried[point].false)
    return {
        "threshold": best[0],
        "min_slices": best[1],
        "n4": n4,
        "validation_patients": len(patients),
        "tried": [
            {"threshold": t, "min_slices": m, "true": c.true, "hit": c.hit, "false": c.false}
            for (t, m), c in tried.items()
        ],
    }


def evaluate(sample_database: Path, models: Models) -> dict:
    """Measure the models on the test patients, through the same functions that serve `tools/infer.py`.

    Returns:
        All figures, ready for JSON; see README.md.

    Raises:
        DatabaseError: no patient is on the test side.
    """
    organs: list[tuple[str, str]] = []  # truth, answer
    unlabelled: list[str] = []
    slices: list[tuple[bool, bool]] = []
    lesions = LesionCount()
    by_patient: dict[str, tuple[Truth, list[SeriesAnalysis]]] = {}
    with closing(database.connect(sample_database)) as connection:
        for number, truth in _split(connection, "test"):
            series, _ = database.load_series(connection, number)
            analysis = analyse_series(series, models)
            answers = analysis.organs
            organs += [(t, a) for t, a in zip(truth.organs, answers, strict=True) if t is not None]
            unlabelled += [a for t, a in zip(truth.organs, answers, strict=True) if t is None]
            found = {index for lesion in analysis.lesions for index in lesion.boxes}
            true = {index for boxes in truth.lesions for index in boxes}
            slices += [(index in true, index in found) for index in range(len(answers))]
            lesions += match_lesions(truth.lesions, analysis.lesions)
            by_patient.setdefault(truth.patient, (truth, []))[1].append(analysis)
        synthetic = database.is_synthetic(connection)
    return {
        "synthetic": synthetic,
        "patients": len(by_patient),
        "organ": _organ_figures(*map(list, zip(*organs, strict=True)), unlabelled),
        "tumour": {
            "slice": Measures.of(*zip(*slices, strict=True)).as_dict(),
            "patient": Measures.of(
                [truth.stage != NORMAL for truth, _ in by_patient.values()],
                [any(a.lesions for a in analyses) for _, analyses in by_patient.values()],
            ).as_dict(),
            "lesion": {
                "sensitivity": None if np.isnan(lesions.sensitivity) else lesions.sensitivity,
                "true": lesions.true,
                "found": lesions.hit,
                "false": lesions.false,
                "false_per_patient": lesions.false / len(by_patient),
            },
        },
        "stage": _stage_figures(by_patient, models),
    }


def baselines(sample_database: Path, lmdbs: Path) -> dict[str, float]:
    """Test accuracies to hold the models against: how much of each task is no task at all.

    Args:
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
    """
    return {
        "organ accuracy, linear on pixels": linear_accuracy(lmdbs, "organ"),
        "organ accuracy, SVM on the untrained net": untrained_baseline(sample_database, lmdbs),
        "window stage accuracy, linear on pixels": linear_accuracy(lmdbs, "stage"),
    }


def untrained_baseline(sample_database: Path, lmdbs: Path, seed: int = 1) -> float:
    """Test accuracy of the SVM on features of the organ net as its fillers made it, before any training."""
    caffe_net.caffe.set_random_seed(seed)
    net = caffe_net.load_net(organ.DEPLOY)
    transform = caffe_net.transform_of(organ.TRAIN_VAL)
    data = {split: organ_samples(sample_database, lmdbs, split) for split in database.SPLITS}
    features = {s: organ.extract_features(net, transform, images, "fc7") for s, (images, _, _) in data.items()}
    svm = organ.fit((features["train"], *data["train"][1:]), features["val"], "fc7", organ_labels())
    return float(svm.classifier.score(features["test"], data["test"][1]))


def organ_samples(sample_database: Path, lmdbs: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and patients of one of the organ net's LMDBs, in key order.

    Raises:
        DatabaseError: the LMDB was not made from this database.
    """
    images, labels = lmdb_io.read(lmdbs / f"organ_{split}")
    with closing(database.connect(sample_database)) as connection:
        rows = connection.execute(
            "SELECT patient FROM sample JOIN slice_side USING (slice) WHERE task = 'organ' AND split = ? ORDER BY key",
            (split,),
        ).fetchall()
        lmdb_io.check_made_from(lmdbs, connection)
    return images, labels, np.array([row["patient"] for row in rows])


def print_figures(figures: dict) -> None:
    """The figures as a table on stdout."""
    kind = " (synthetic data)" if figures["synthetic"] else ""
    print(f"Held-out test patients: {figures['patients']}{kind}")
    print(f"{'':24}{'sensitivity':>12}{'specificity':>12}{'accuracy':>10}{'miss rate':>11}{'FP rate':>9}   counts")
    rows = {f"organ: {name}": m for name, m in figures["organ"]["one_against_rest"].items()}
    rows |= {f"tumour, by {level}": figures["tumour"][level] for level in ("slice", "patient")}
    for name, m in rows.items():
        values = [m[k] for k in ("sensitivity", "specificity", "accuracy", "miss_rate", "false_positive_rate")]
        texts = ["n/a" if v is None else f"{v:.3f}" for v in values]
        counts = f"TP {m['tp']} FN {m['fn']} TN {m['tn']} FP {m['fp']}"
        print(f"{name:24}{texts[0]:>12}{texts[1]:>12}{texts[2]:>10}{texts[3]:>11}{texts[4]:>9}   {counts}{kind}")
    lesion, organs, stages = figures["tumour"]["lesion"], figures["organ"], figures["stage"]
    print(
        f"lesions: {lesion['found']} of {lesion['true']} found, "
        f"{lesion['false']} false ({lesion['false_per_patient']:.2f} a patient){kind}"
    )
    print(f"organ accuracy: {organs['accuracy']:.3f} of {organs['slices']} slices{kind}")
    print(f"patient stage accuracy: {stages['accuracy']:.3f} of {figures['patients']} patients{kind}")
    for name, value in figures.get("baselines", {}).items():
        print(f"baseline, {name}: {value:.3f}{kind}")


def _split(connection: sqlite3.Connection, split: str) -> Iterator[tuple[int, Truth]]:
    """Every series of one side of the split with its truth.

    Raises:
        DatabaseError: no patient is on that side; split by image, none is on any.
    """
    rows = connection.execute(
        "SELECT series, patient, stage FROM series JOIN study USING (study) JOIN patient USING (patient)"
        " JOIN split USING (patient) WHERE side = ? ORDER BY series",
        (split,),
    ).fetchall()
    if not rows:
        raise DatabaseError(f"the sample database has no {split} patient; add patients, or split by patient")
    for row in cli.progress(rows, desc=split, unit="series"):
        slices = connection.execute(
            "SELECT slice, organ FROM slice_label WHERE series = ? ORDER BY slice", (row["series"],)
        ).fetchall()
        boxes = [
            connection.execute(
                "SELECT row0, col0, row1, col1 FROM lesion_box WHERE slice = ?", (s["slice"],)
            ).fetchall()
            for s in slices
        ]
        boxes = [[tuple(box) for box in on_slice] for on_slice in boxes]
        lesions = [_by_slice(group, boxes) for group in link(boxes)]
        yield row["series"], Truth(row["patient"], row["stage"], [s["organ"] for s in slices], lesions)


def link(boxes: list[list[Box]]) -> list[list[tuple[int, int]]]:
    """Group annotated boxes into lesions: those that overlap from one slice to the next.

    Args:
        boxes: for each slice, in order, its boxes.

    Returns:
        Groups of (slice index, number of the box on that slice).
    """
    nodes = [(index, number) for index, on_slice in enumerate(boxes) for number in range(len(on_slice))]
    linked = np.zeros((len(nodes), len(nodes)), bool)
    for one, (index, number) in enumerate(nodes):
        for other, (other_index, other_number) in enumerate(nodes[:one]):
            if index - other_index == 1:
                linked[one, other] = _overlap(boxes[index][number], boxes[other_index][other_number]) >= SAME_LESION
    if not nodes:
        return []
    count, group = connected_components(linked, directed=False)
    return [[node for node, of in zip(nodes, group, strict=True) if of == number] for number in range(count)]


def _overlap(a: Box, b: Box) -> float:
    """Share of the smaller of two boxes that lies in the other, 0..1."""
    rows, columns = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(rows, 0) * max(columns, 0) / smaller


def _hull(boxes: list[Box]) -> Box:
    """The smallest box that holds all of ``boxes``."""
    row0, col0, row1, col1 = zip(*boxes, strict=True)
    return min(row0), min(col0), max(row1), max(col1)


def _by_slice(group: list[tuple[int, int]], boxes: list[list[Box]]) -> dict[int, Box]:
    """One box a slice of a linked group; where it has several on one slice, what holds them all."""
    indices = sorted({index for index, _ in group})
    return {i: _hull([boxes[index][n] for index, n in group if index == i]) for i in indices}


def _lesion_boxes(connection: sqlite3.Connection, number: int) -> list[Box]:
    rows = connection.execute("SELECT row0, col0, row1, col1 FROM lesion_box WHERE slice = ?", (number,))
    return [tuple(row) for row in rows]


def _organ_figures(truth: list[str], found: list[str], unlabelled: list[str]) -> dict:
    labels = organ_labels()
    return {
        "accuracy": accuracy(truth, found),
        "slices": len(truth),
        "one_against_rest": {k: m.as_dict() for k, m in one_against_rest(truth, found, labels).items()},
        "confusion": {
            "rows": labels,
            "columns": [*labels, OTHER],
            "counts": confusion(truth, found, labels, [*labels, OTHER]),
        },
        "slices_without_label": len(unlabelled),
        "of_these_other": unlabelled.count(OTHER),
    }


def _stage_figures(by_patient: dict[str, tuple[Truth, list[SeriesAnalysis]]], models: Models) -> dict:
    truth = [t.stage for t, _ in by_patient.values()]
    found = [
        study_stage(analyses, analyses[0].series.age_months, models)["label"] for _, analyses in by_patient.values()
    ]
    labels = stage_labels()
    return {
        "accuracy": accuracy(truth, found),
        "confusion": {"rows": labels, "columns": labels, "counts": confusion(truth, found, labels, labels)},
    }


def linear_accuracy(lmdbs: Path, task: str) -> float:
    """Test accuracy of logistic regression on standardised pixels, its penalty chosen on the validation samples.

    At most `LINEAR_SAMPLES` training samples are used.
    """
    data = {}
    for split in database.SPLITS:
        images, labels = lmdb_io.read(lmdbs / f"{task}_{split}")
        data[split] = images.reshape(len(images), -1).astype(np.float32), labels
    train = tuple(values[:LINEAR_SAMPLES] for values in data["train"])  # the keys are in random order
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)).fit(*train)
        for c in (1e-5, 1e-4, 1e-3)
    ]
    best = max(fitted, key=lambda classifier: classifier.score(*data["val"]))
    return float(best.score(*data["test"]))


def write(figures: dict, path: Path) -> None:
    """Write figures as JSON."""
    with cli.replacing_file(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
