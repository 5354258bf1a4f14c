import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from nbcad.evaluation.bootstrap import RESAMPLES, draws
from nbcad.evaluation.curves import FALSE_A_PATIENT, calibration, froc, roc
from nbcad.runtime.json_file import as_json


def _cases(rng, count=120, decimals=1):
    truth = rng.random(count) < 0.4
    return truth, np.round(rng.normal(truth, 1.0), decimals), rng.integers(0, 9, count)


def test_roc_of_a_hand_made_case():
    curve = roc([True, True, False, False], [0.9, 0.4, 0.4, 0.1], [0, 1, 0, 1])
    assert curve.auc.value == 3.5 / 4  # four pairs, one of them tied
    assert curve.false_positive_rate == (0, 0, 0.5, 1) and curve.sensitivity == (0, 0.5, 1, 1)


def test_roc_is_scikit_learns(rng):
    truth, score, patient = _cases(rng)
    curve = roc(truth, score, patient)
    assert curve.auc.value == pytest.approx(roc_auc_score(truth, score))
    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    assert curve.false_positive_rate == pytest.approx(fpr, abs=1e-4)
    assert curve.sensitivity == pytest.approx(tpr, abs=1e-4)


def test_auc_interval_is_that_of_patients_drawn_whole(rng):
    truth, score, patient = _cases(rng)
    resampled = []
    for drawn in draws(9)[:400]:
        rows = np.concatenate([np.flatnonzero(patient == p) for p in range(9) for _ in range(int(drawn[p]))])
        resampled.append(roc_auc_score(truth[rows], score[rows]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    auc = roc(truth, score, patient).auc
    assert (auc.low, auc.high) == pytest.approx((low, high), abs=0.02)
    assert (auc.n, auc.patients) == (120, 9)


def test_long_curves_are_thinned_and_stay_on_the_curve(rng):
    truth, score, patient = _cases(rng, 3000, decimals=9)
    curve = roc(truth, score, patient)
    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    assert len(curve.sensitivity) <= 201 and curve.sensitivity[-1] == curve.false_positive_rate[-1] == 1
    points = set(zip(np.round(fpr, 4), np.round(tpr, 4), strict=True))
    assert set(zip(curve.false_positive_rate, curve.sensitivity, strict=True)) <= points
    band = curve.band
    inside = np.interp(band.false_positive_rate, fpr, tpr)
    assert all(l - 0.01 <= y <= h + 0.01 for l, y, h in zip(band.low, inside, band.high, strict=True))  # noqa: E741


@pytest.mark.parametrize(("truth", "reason"), [(True, "no negative case"), (False, "no positive case")])
def test_roc_of_one_kind_of_case_is_not_defined(truth, reason):
    curve = roc([truth] * 3, [0.1, 0.2, 0.3], [0, 1, 2])
    assert list(as_json(curve)) == ["auc"] and (curve.auc.value, curve.auc.reason) == (None, reason)


def _sweep(rng, patients=8, thresholds=12):
    true = rng.integers(0, 5, patients)
    hit = np.array([[rng.integers(0, n + 1) for n in true] for _ in range(thresholds)])
    return list(np.linspace(0.1, 0.9, thresholds)), true, hit, rng.integers(0, 6, (thresholds, patients))


def test_froc_is_the_most_that_any_threshold_finds_and_never_falls(rng):
    thresholds, true, hit, false = _sweep(rng)
    found = froc(thresholds, true, hit, false)
    for x in FALSE_A_PATIENT:
        allowed = [h.sum() / true.sum() for h, f in zip(hit, false, strict=True) if f.sum() / len(true) <= x]
        assert found.at[str(x)].value == max(allowed, default=0)
    band = found.band
    for name in ("sensitivity", "low", "high"):
        assert np.all(np.diff(getattr(band, name)) >= 0)
    assert [p.threshold for p in found.points] == thresholds
    assert found.points[3].sensitivity == pytest.approx(hit[3].sum() / true.sum(), abs=1e-4)
    assert found.points[3].false_per_patient == pytest.approx(false[3].mean(), abs=1e-4)


def test_froc_interval_draws_lesions_and_false_ones_of_a_patient_together(rng):
    thresholds, true, hit, false = _sweep(rng)
    false = np.minimum(false, np.arange(12)[::-1, None] // 3)
    resampled = []
    for drawn in draws(8):
        within = [drawn @ h / (drawn @ true) for h, f in zip(hit, false, strict=True) if drawn @ f / 8 <= 1.0]
        resampled.append(max(within, default=0))
    figure = froc(thresholds, true, hit, false).at["1.0"]
    assert len(resampled) == RESAMPLES
    assert (figure.low, figure.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])))


def test_froc_without_a_lesion_is_not_defined():
    found = froc([0.5], [0, 0], [[0, 0]], [[1, 0]])
    assert found.points == () and {f.reason for f in found.at.values()} == {"no lesion"}


def test_calibration_by_hand():
    found = calibration([0.95, 0.95, 1.0, 0.22], [True, False, True, False], [0, 1, 2, 2])
    last, third = found.bins[9], found.bins[2]
    assert (last.share.value, last.share.n, last.mean_probability) == (2 / 3, 3, pytest.approx(0.9667))
    assert (third.share.value, third.share.n) == (0, 1)
    assert found.bins[0].mean_probability is None and found.bins[0].share.reason == "no case"
    assert found.brier.value == pytest.approx((0.05**2 + 0.95**2 + 0 + 0.22**2) / 4)
    assert found.over_confidence.value == pytest.approx((0.95 + 0.95 + 1 + 0.22 - 2) / 4)
