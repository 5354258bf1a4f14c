"""The fit of the organ SVM: folds and choices by patient, exact or approximate, the same bytes every time."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from nbcad.errors import ModelError
from nbcad.inference import organ
from nbcad.runtime.paths import SVM_CONFIG
from nbcad.training import organ_svm
from nbcad.training.organ_svm import choose, fit, folds, some_patients


def test_no_patient_is_in_two_folds_of_the_cross_validation(clouds, monkeypatch):
    seen = []
    original = organ_svm.GridSearchCV

    def spy(*args, cv, **kwargs):
        seen.extend(cv)
        return original(*args, cv=cv, **kwargs)

    monkeypatch.setattr(organ_svm, "GridSearchCV", spy)
    fit(clouds, clouds[0], "fc7", ["a", "b", "c"])
    patients = clouds[2]
    assert seen
    assert all(not set(patients[train]) & set(patients[test]) for train, test in seen)


def test_folds_do_not_depend_on_how_patients_are_named(clouds):
    """The database names them by a random key."""
    features, labels, patients = clouds
    renamed = np.array([f"{(7 * patient + 3) % 8:x}" for patient in patients])
    for one, other in zip(folds(clouds, 4), folds((features, labels, renamed), 4), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_c_and_gamma_are_those_that_plain_cross_validation_prefers(clouds):
    """The choice goes by way of precomputed distances; scikit-learn's own search on the features agrees."""
    features, labels, _ = clouds
    features = features + np.random.default_rng(1).normal(0, 2, features.shape)  # so that the choice matters
    grid = {"C": [0.1, 10.0], "gamma_times_features": [0.01, 1.0, 100.0]}
    splits = folds((features, *clouds[1:]), 5)
    c, gamma, accuracy = choose(features, labels, splits, grid)
    parameters = {"C": grid["C"], "gamma": [g / 6 for g in grid["gamma_times_features"]]}
    standardised = StandardScaler().fit_transform(features)
    search = GridSearchCV(SVC(), parameters, cv=splits).fit(standardised, labels)
    assert {"C": c, "gamma": gamma} == search.best_params_
    assert accuracy == pytest.approx(search.best_score_, abs=0.01)  # distances are float32


def test_saved_svm_is_the_same_bytes_when_it_is_fitted_again(svm, clouds, tmp_path):
    organ.save(svm, tmp_path / "first")
    organ.save(fit(clouds, clouds[0], "fc7", svm.labels), tmp_path / "second")
    for name in ("svm.skops", "svm.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.fixture(scope="module")
def large(clouds, tmp_path_factory):
    """Fitted as if three patients' samples, or 100 samples, were many."""
    config = tmp_path_factory.mktemp("svm") / "svm.toml"
    text = Path(SVM_CONFIG).read_text()
    for name, value in {"choose_on": 90, "exact_up_to": 100, "landmarks": 40}.items():
        text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
    config.write_text(text)
    return fit(clouds, clouds[0], "fc7", ["adrenal", "retroperitoneum", "thorax"], config)


def test_kernel_is_approximated_for_many_samples_and_sorts_as_well(svm, large, clouds):
    assert (svm.fit.kernel, large.fit.kernel) == ("exact", "Nystroem, 40 landmarks")
    regions, _ = large.classify(clouds[0])
    exact, _ = svm.classify(clouds[0])
    assert np.mean([one == other for one, other in zip(regions, exact, strict=True)]) > 0.95
    far = np.full((1, 6), 40, np.float32)
    assert large.classify(far)[0] == ["other"]


def test_many_samples_are_judged_by_a_few_whole_patients(svm, large, clouds):
    assert svm.fit.chosen_on_samples == 240
    assert large.fit.chosen_on_samples == 90
    chosen = some_patients(clouds[2], 90)
    counts = np.bincount(clouds[2][chosen], minlength=8)
    assert sorted(counts.tolist()) == [0] * 5 + [30] * 3
    renamed = np.char.add("p", (9 - clouds[2]).astype(str))
    np.testing.assert_array_equal(some_patients(renamed, 90), chosen)
    assert large.familiarity[-1].shape_fit_[0] == 90


def test_saved_approximate_svm_gives_the_same_probabilities(large, clouds, tmp_path):
    organ.save(large, tmp_path)
    loaded = organ.load(tmp_path)
    for old, new in zip(large.classify(clouds[0]), loaded.classify(clouds[0]), strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_patient_is_too_few_for_cross_validation(clouds):
    features, labels, _ = clouds
    with pytest.raises(ModelError, match="two training patients"):
        fit((features, labels, np.zeros(len(labels))), features, "fc7", ["a", "b", "c"])


def test_thresholds_leave_nearly_all_validation_slices_a_region(svm, clouds):
    regions, _ = svm.classify(clouds[0])
    assert 0 < regions.count("other") <= 0.02 * len(regions) + 2
