"""How many series of one patient are analysed: as many as a process can hold that uses at most 1 GiB in all."""

from collections import Counter
from collections.abc import Callable

from nbcad.dicom.rules import Decision
from nbcad.dicom.types import Series
from nbcad.language.message import message

READING = 700 << 20  # bytes while a series is read, beside about 300 MiB of the process itself
KEPT = 480 << 20  # bytes of all series while the report is written, whose pages take about 200 MiB
# A series' pixels as float32, and a copy of them for their percentiles; as uint8 until the patient's report is written.
_BYTES_A_PIXEL, _BYTES_A_PIXEL_KEPT = 9, 1
_BYTES_A_MM2_KEPT = 0.5  # heat: some float32 probabilities every 8 mm


class Room:
    """Decides on series as another function does, but takes no more of a patient than memory has room for."""

    def __init__(self, decide: Callable[[Series], Decision]):
        """Args: the decision on a series alone."""
        self._decide = decide
        self._kept: Counter[str] = Counter()  # bytes by patient

    def __call__(self, series: Series) -> Decision:
        """Return the decision on the next series."""
        decision = self._decide(series)
        if decision.reason or not series.slices:
            return decision
        patient = series.patient_id or series.study_uid
        image = series.slices[0]
        pixels = len(series.slices) * image.rows * image.columns
        area = len(series.slices) * image.rows * image.spacing[0] * image.columns * image.spacing[1]
        kept = self._kept[patient] + int(_BYTES_A_PIXEL_KEPT * pixels + _BYTES_A_MM2_KEPT * area)
        if self._kept[patient] + _BYTES_A_PIXEL * pixels > READING or kept > KEPT:
            reason = message(
                "{count} million pixels, with those of the patient's series before it, would take more than 1 GiB of "
                "memory; give fewer series at a time, or this one with --series",
                count=f"{pixels / 1e6:.1f}",
            )
            return Decision(decision.rule, reason)
        self._kept[patient] = kept
        return decision
