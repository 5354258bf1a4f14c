"""Records made by hand, for tests of what is counted from them."""

from nbcad.dicom.age import Age
from nbcad.evaluation.matching import LesionCount
from nbcad.evaluation.records import FoundRecord, LesionRecord, PatientRecord, Records, SeriesRecord, SliceRecord


def image(organ="thorax", answer="thorax", tumour=False, found=False, looked_at=True, score=0.0) -> SliceRecord:
    probabilities = tuple(0.8 if name == answer else 0.1 for name in ("adrenal", "retroperitoneum", "thorax"))
    return SliceRecord(organ, answer, probabilities, looked_at, tumour, found, 0.9 if found else 0.1, score)


def true_lesion(organ="adrenal", found=True, iou=0.5, distance=3.0, volume=100.0) -> LesionRecord:
    return LesionRecord(
        organ, volume, found, 0.9 if found else None, iou if found else 0.0, distance if found else None
    )


def false_lesion(organ="thorax") -> FoundRecord:
    return FoundRecord(organ, 0.8, False)


def series(slices=(), lesions=(), false=(), weighting="T2") -> SeriesRecord:
    hit = sum(lesion.found for lesion in lesions)
    found = [FoundRecord(lesion.organ, 0.9, True) for lesion in lesions if lesion.found] + list(false)
    sweep = [LesionCount(len(lesions), hit, 2 * len(false)), LesionCount(len(lesions), hit, len(false))]
    return SeriesRecord(weighting, list(slices), list(lesions), found, sweep)


def patient(stage="normal", answer="normal", age=12, of=None) -> PatientRecord:
    of = [series([image()])] if of is None else of
    probabilities = {name: 0.6 if name == answer else 0.1 for name in ("normal", "L1", "L2", "M", "MS")}
    known = Age.exactly(age) if isinstance(age, int) else age
    return PatientRecord(stage, answer, probabilities, known, any(s.found for s in of), of)


def records(*patients: PatientRecord, synthetic=True) -> Records:
    return Records(list(patients), [0.3, 0.6], synthetic, "0" * 64)


def ward() -> Records:
    """Seven patients with a bit of everything."""
    return records(
        patient("L1", "L1", 30, [series([image("adrenal", "adrenal", True, True, score=0.6)], [true_lesion()])]),
        patient("M", "L2", 40, [
            series([image("adrenal", "other", True, False), image(None, "other")],
                   [true_lesion(), true_lesion("not known", found=False, volume=900.0)], [false_lesion()]),
            series([image(looked_at=False)], [true_lesion("thorax", found=False)], weighting="T1"),
        ]),
        patient("MS", "MS", 5, [series([image("adrenal", "adrenal", True, True, score=0.6)],
                                       [true_lesion(distance=9.0, iou=0.2)])]),
        patient("L2", "normal", None, [series([image("adrenal", "thorax", True, False)], [true_lesion(found=False)])]),
        patient("normal", "normal", 18),
        patient("normal", "L1", 17, [series([image(found=True, score=0.3)], [],
                                            [false_lesion(), false_lesion("adrenal")])]),
        patient("normal", "normal", 60, [series([image("retroperitoneum", "retroperitoneum")], weighting="DWI")]),
    )  # fmt: skip
