"""The operating point: what makes the stager's heat a lesion, chosen on the validation patients."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
from scipy.special import expit

from nbcad import cli, database, localise
from nbcad.localise import OperatingPoint
from nbcad.metrics.lesions import LesionCount, match_lesions
from nbcad.truth import heat_of_split

# Evenly spaced in log odds: how probable a net finds tumours depends on how many of its samples were normal.
THRESHOLDS = tuple(np.round(expit(np.arange(-3, 4.1, 0.125)), 4).tolist())
MIN_SLICES = (1, 2, 3)
FALSE_LESIONS_A_PATIENT = 0.75  # at most, on the validation patients; on others it may be more


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


def write(figures: dict, path: Path) -> None:
    """Write figures as JSON."""
    with cli.replacing_file(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
