"""What the trained models are worth: the paper's measures on patients held out, and baselines beside them."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbcad import caffe_net, cli, database, lmdb_io, localise, organ
from nbcad.labels import NORMAL, OTHER, organ_labels, stage_labels
from nbcad.localise import OperatingPoint
from nbcad.metrics import LesionCount, match_lesions
from nbcad.pipeline import Models, SeriesAnalysis, analyse_series, study_stage
from nbcad.truth import Truth, heat_of_split, of_split

# Evenly spaced in log odds: how probable a net finds tumours depends on how many of its samples were normal.
THRESHOLDS = tuple(np.round(expit(np.arange(-3, 4.1, 0.125)), 4).tolist())
MIN_SLICES = (1, 2, 3)
FALSE_LESIONS_A_PATIENT = 0.75  # at most, on the validation patients; on others it may be more
LINEAR_SAMPLES = 10_000


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
    tried = {(t, m): LesionCount() for t in THRESHOLDS for m in MIN_SLICES}
    patients = set()
    with closing(database.connect(sample_database)) as connection:
        for truth, slices, _, heat in heat_of_split(connection, "val", weights, n4):
            patients.add(truth.patient)
            for threshold in THRESHOLDS:
                found = truth.judged(localise.find_lesions(heat, slices, OperatingPoint(threshold, min_slices=1)))
                for least in MIN_SLICES:
                    long_enough = [lesion for lesion in found if len(lesion.boxes) >= least]
                    tried[threshold, least] += match_lesions(truth.lesions, long_enough)
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
        for number, truth in of_split(connection, "test"):
            series, _ = database.load_series(connection, number)
            analysis = analyse_series(series, models)
            answers = analysis.organs
            organs += [(t, a) for t, a in zip(truth.organs, answers, strict=True) if t is not None]
            unlabelled += [a for t, a in zip(truth.organs, answers, strict=True) if t is None]
            found = {index for lesion in analysis.lesions for index in lesion.boxes}
            true = {index for boxes in truth.lesions for index in boxes}
            slices += [(index in true, index in found) for index in np.flatnonzero(truth.looked_at)]
            lesions += match_lesions(truth.lesions, truth.judged(analysis.lesions))
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
