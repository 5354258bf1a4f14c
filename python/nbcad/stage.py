"""The stage of a lesion and of a patient, after the INRG staging system (Monclair et al. 2009; the paper's [2]).

L1 localised, one compartment, no image-defined risk factor; L2 with at least one; M distant metastases; MS under 18
months with metastases confined to skin, liver and/or bone marrow. What the images suggest, no diagnosis.
"""

import numpy as np

MS_MONTHS = 18
AGE_UNKNOWN = "The patient's age is not known: M and MS cannot be told apart."
TOO_OLD_FOR_MS = "At 18 months or more MS is excluded by definition; what looked like MS counts as M."


def apply_age(stages: np.ndarray, labels: list[str], age_months: int | None) -> tuple[np.ndarray, list[str]]:
    """Move MS to M where the patient is not under 18 months.

    Args:
        stages: probabilities, shape (labels,).
        labels: their names; without M and MS (another staging system) nothing is changed.
        age_months: at the study, or None.

    Returns:
        Probabilities, and notes for the reader.
    """
    if not {"M", "MS"} <= set(labels):
        return stages, []
    m, ms = labels.index("M"), labels.index("MS")
    if age_months is None:
        return stages, [AGE_UNKNOWN] if labels[int(np.argmax(stages))] in ("M", "MS") else []
    if age_months < MS_MONTHS:
        return stages, []
    notes = [TOO_OLD_FOR_MS] if int(np.argmax(stages)) == ms else []
    moved = stages.copy()
    moved[m] += moved[ms]
    moved[ms] = 0
    return moved, notes


def patient_stage(lesion_stages: list[np.ndarray], tumour: list[float], sizes: list[float]) -> np.ndarray:
    """Probabilities of normal and of each stage for a patient with at least one lesion.

    Every lesion bears the patient's stage (D11 in README.md), so the lesions' stages are averaged, each with its size;
    the most probable lesion tells whether there is a tumour at all.

    Args:
        lesion_stages: for each lesion probabilities of shape (tumour stages,), given that it is one.
        tumour: each lesion's probability.
        sizes: each lesion's volume, in any one unit.

    Returns:
        shape (1 + tumour stages,), normal first; sums to 1.
    """
    mean = np.average(lesion_stages, axis=0, weights=sizes)
    return np.concatenate([[1 - max(tumour)], max(tumour) * mean])
