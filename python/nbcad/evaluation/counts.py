"""The paper's five measures (3.2), accuracies and confusion matrices, with intervals by patient."""

import numpy as np

from nbcad.evaluation.bootstrap import Figure, ratio, undefined
from nbcad.evaluation.types import Confusion, FiveMeasures, LesionMeasures

FIVE = ("sensitivity", "specificity", "accuracy", "miss_rate", "false_positive_rate")
DEFINITIONS = {
    "sensitivity": "TP / (TP + FN)",
    "specificity": "TN / (TN + FP)",
    "accuracy": "(TP + TN) / all",
    "miss_rate": "1 - sensitivity = FN / (TP + FN)",
    "false_positive_rate": "1 - specificity = FP / (TN + FP)",
}
_NO_POSITIVE = "no positive case"
_NO_NEGATIVE = "no negative case"
_NO_HEALTHY = "healthy places that could be taken for a lesion cannot be counted; see false_per_patient"


def five_measures(truth: np.ndarray, found: np.ndarray, patient: np.ndarray) -> FiveMeasures:
    """Return the five measures and the four counts of a yes-or-no decision.

    Args:
        truth: bool, shape (n,).
        found: bool, shape (n,).
        patient: shape (n,), number of the patient of each case.
    """
    truth, found = np.asarray(truth, bool), np.asarray(found, bool)
    tp, fn, tn, fp = (
        by_patient(cases, patient) for cases in (truth & found, truth & ~found, ~truth & ~found, ~truth & found)
    )
    return FiveMeasures(
        sensitivity=ratio(tp, tp + fn, _NO_POSITIVE),
        specificity=ratio(tn, tn + fp, _NO_NEGATIVE),
        accuracy=ratio(tp + tn, tp + fn + tn + fp, "no case"),
        miss_rate=ratio(fn, tp + fn, _NO_POSITIVE),
        false_positive_rate=ratio(fp, tn + fp, _NO_NEGATIVE),
        tp=int(tp.sum()),
        fn=int(fn.sum()),
        tn=int(tn.sum()),
        fp=int(fp.sum()),
    )


def lesion_measures(true: np.ndarray, hit: np.ndarray, false: np.ndarray, patients: np.ndarray) -> LesionMeasures:
    """Return the five measures by lesion, and the false ones a patient.

    Args:
        true: shape (patients,), lesions of each patient; a missed one always counts.
        hit: those that were found.
        false: found ones that are none.
        patients: 1 where false ones could have been found, else 0.

    There is no count of places without a lesion, hence no specificity, accuracy or false-positive rate.
    """
    return LesionMeasures(
        sensitivity=ratio(hit, true, "no lesion"),
        specificity=undefined(_NO_HEALTHY),
        accuracy=undefined(_NO_HEALTHY),
        miss_rate=ratio(true - hit, true, "no lesion"),
        false_positive_rate=undefined(_NO_HEALTHY),
        false_per_patient=ratio(false, patients, "not a group that lesions are sought in"),
        true=int(true.sum()),
        found=int(hit.sum()),
        false=int(false.sum()),
    )


def share(right: np.ndarray, patient: np.ndarray, nothing: str) -> Figure:
    """Return the share of cases that are right.

    Args:
        right: bool, shape (n,).
        patient: shape (n,).
        nothing: why it is undefined where there is no case.
    """
    right = np.asarray(right, bool)
    return ratio(by_patient(right, patient), by_patient(np.ones(len(right), bool), patient), nothing)


def by_patient(values: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Sums of values over each patient, shape (patients,)."""
    return np.bincount(np.asarray(patient, int), weights=np.asarray(values, float))


def confusion(truth: list[str], found: list[str], rows: list[str], columns: list[str]) -> Confusion:
    """Return how often each true label has each answer."""
    pairs = list(zip(truth, found, strict=True))
    counts = tuple(tuple(pairs.count((row, column)) for column in columns) for row in rows)
    return Confusion(tuple(rows), tuple(columns), counts)
