"""The stage of a lesion and of a patient, after the INRG staging system (Monclair et al. 2009; the paper's [2]).

L1 localised, one compartment, no image-defined risk factor; L2 with at least one; M distant metastases; MS under 18
months with metastases confined to skin, liver and/or bone marrow. What the images suggest, no diagnosis.

With config/labels/stage_inss.txt the International Neuroblastoma Staging System (Brodeur et al. 1993): 4S is under 12
months, and 1, 2A and 2B are a surgeon's and a pathologist's to tell apart.
"""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom.age import Age
from nbcad.language.message import Message, message

MS_MONTHS = 18
AGE_UNKNOWN = message("The patient's age is not known: M and MS cannot be told apart.")
TOO_OLD_FOR_MS = message("At 18 months or more MS is excluded by definition; what looked like MS counts as M.")
SURGICAL = ("1", "2A", "2B")  # of INSS
UNDETERMINED = message(
    "The tumour looks localised. INSS 1, 2A and 2B differ in resection and in lymph nodes under the microscope: "
    "which of them it is cannot be determined from MR alone."
)


@dataclass(frozen=True)
class AgeRule:
    """A stage of the young that spreads like another, and what is said where it cannot be given."""

    spread: str
    young: str
    months: int  # from which on it is excluded
    unknown: Message
    too_old: Message

    def not_to_the_month(self, age: Age) -> Message:
        """Return why neither stage can be excluded at an age that is known less exactly than the rule asks."""
        return message(
            "The patient is {least} to {most} months old: {spread} and {young} cannot be told apart.",
            least=age.least_months,
            most=age.most_months,
            spread=self.spread,
            young=self.young,
        )


AGE_RULES = (
    AgeRule("M", "MS", MS_MONTHS, AGE_UNKNOWN, TOO_OLD_FOR_MS),
    AgeRule(
        "4",
        "4S",
        12,
        message("The patient's age is not known: 4 and 4S cannot be told apart."),
        message("At 12 months or more 4S is excluded by definition; what looked like 4S counts as 4."),
    ),
)


def apply_age(stages: np.ndarray, labels: list[str], age: Age | None) -> tuple[np.ndarray, list[Message]]:
    """Give a stage of the young only to a patient who is known to be young enough; else it counts as the other.

    Args:
        stages: probabilities, shape (labels,).
        labels: their names; without the two stages of an age rule nothing is changed.
        age: at the study, or None.

    Returns:
        Probabilities, and notes for the reader.
    """
    for rule in AGE_RULES:
        if not {rule.spread, rule.young} <= set(labels) or (age is not None and age.most_months < rule.months):
            continue
        spread, young = labels.index(rule.spread), labels.index(rule.young)
        best = int(np.argmax(stages))
        stages = stages.copy()
        stages[spread] += stages[young]
        stages[young] = 0
        if age is None or age.least_months < rule.months:
            undecided = rule.unknown if age is None else rule.not_to_the_month(age)
            return stages, [undecided] if int(np.argmax(stages)) == spread else []
        return stages, [rule.too_old] if best == young else []
    return stages, []


def suggested(stages: np.ndarray, labels: list[str]) -> tuple[str | None, list[Message]]:
    """Return the most probable of all labels, normal included: a label never contradicts its probabilities.

    Args:
        stages: probabilities, shape (labels,).
        labels: their names.

    Returns:
        Its name, or None if images cannot tell it from others; and notes for the reader.
    """
    localised = np.isin(labels, SURGICAL)
    others = np.where(localised, 0, stages)
    if stages[localised].sum() > others.max():  # together they are one answer of the images
        return None, [UNDETERMINED]
    return labels[int(np.argmax(others))], []


def mean_stage(lesion_stages: list[np.ndarray], probabilities: list[float]) -> np.ndarray:
    """Return the stages of a patient, given a tumour: the lesions' stages, averaged by how probable each lesion is.

    Every lesion bears the patient's stage (D11 in docs/reproduction.md). By volume, a large primary would outvote its
    metastases.

    Args:
        lesion_stages: for each lesion probabilities of shape (tumour stages,), given that it is one.
        probabilities: of each lesion, that it is one.

    Returns:
        shape (tumour stages,); sums to 1.
    """
    weights = np.maximum(probabilities, np.finfo(float).tiny)  # none may be certain not to be one
    return np.average(lesion_stages, axis=0, weights=weights)
