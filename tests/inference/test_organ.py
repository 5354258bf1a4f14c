import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from nbcad.errors import ModelError
from nbcad.inference import organ
from nbcad.nets import caffe_net
from nbcad.runtime.paths import SVM_CONFIG
from nbcad.training.organ_svm import choose, fit, folds, some_patients


@pytest.fixture(scope="module")
def samples():
    """Three clouds of features, eight patients."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 80)
    features = rng.normal(0, 1, (240, 6)) + 4 * np.eye(3, 6)[labels]
    return features.astype(np.float32), labels, np.tile(np.arange(8), 30)


@pytest.fixture(scope="module")
def svm(samples):
    return fit(samples, samples[0], "fc7", ["adrenal", "retroperitoneum", "thorax"])


def test_svm_sorts_features_into_regions(svm, samples):
    features, labels, _ = samples
    regions, probabilities = svm.classify(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.mean([svm.labels[label] == region for label, region in zip(labels, regions, strict=True)]) > 0.95


def test_slice_unlike_any_region_is_other(svm):
    far = np.full((1, 6), 40, np.float32)
    between = 4 / 3 * np.eye(3, 6).sum(axis=0, keepdims=True)
    assert svm.classify(far)[0] == ["other"]
    assert dataclasses.replace(svm, thresholds=svm.thresholds | {"probability": 0.99}).classify(between)[0] == ["other"]


def test_no_patient_is_in_two_folds_of_the_cross_validation(samples, monkeypatch):
    seen = []
    original = organ.GridSearchCV

    def spy(*args, cv, **kwargs):
        seen.extend(cv)
        return original(*args, cv=cv, **kwargs)

    monkeypatch.setattr(organ, "GridSearchCV", spy)
    fit(samples, samples[0], "fc7", ["a", "b", "c"])
    patients = samples[2]
    assert seen
    assert all(not set(patients[train]) & set(patients[test]) for train, test in seen)


def test_folds_do_not_depend_on_how_patients_are_named(samples):
    """The database names them by a random key."""
    features, labels, patients = samples
    renamed = np.array([f"{(7 * patient + 3) % 8:x}" for patient in patients])
    for one, other in zip(folds(samples, 4), folds((features, labels, renamed), 4), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_c_and_gamma_are_those_that_cross_validation_of_the_svm_itself_prefers(samples):
    """The choice goes by way of precomputed distances; scikit-learn's own search on the features agrees."""
    features, labels, _ = samples
    features = features + np.random.default_rng(1).normal(0, 2, features.shape)  # so that the choice matters
    grid = {"C": [0.1, 10.0], "gamma_times_features": [0.01, 1.0, 100.0]}
    splits = folds((features, *samples[1:]), 5)
    c, gamma, accuracy = choose(features, labels, splits, grid)
    parameters = {"C": grid["C"], "gamma": [g / 6 for g in grid["gamma_times_features"]]}
    standardised = StandardScaler().fit_transform(features)
    search = GridSearchCV(SVC(), parameters, cv=splits).fit(standardised, labels)
    assert {"C": c, "gamma": gamma} == search.best_params_
    assert accuracy == pytest.approx(search.best_score_, abs=0.01)  # distances are float32


def test_saved_svm_gives_the_same_probabilities(svm, samples, tmp_path):
    organ.save(svm, tmp_path)
    loaded = organ.load(tmp_path)
    for old, new in zip(svm.classify(samples[0]), loaded.classify(samples[0]), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (loaded.blob, loaded.labels, loaded.info) == (svm.blob, svm.labels, svm.info)


def test_saved_svm_is_the_same_bytes_when_it_is_fitted_again(svm, samples, tmp_path):
    organ.save(svm, tmp_path / "first")
    organ.save(fit(samples, samples[0], "fc7", svm.labels), tmp_path / "second")
    for name in ("svm.skops", "svm.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.fixture(scope="module")
def large(samples, tmp_path_factory):
    """Fitted as if three patients' samples, or 100 samples, were many."""
    config = tmp_path_factory.mktemp("svm") / "svm.toml"
    text = Path(SVM_CONFIG).read_text()
    for name, value in {"choose_on": 90, "exact_up_to": 100, "landmarks": 40}.items():
        text = re.sub(rf"^{name} = \d+", f"{name} = {value}", text, flags=re.MULTILINE)
    config.write_text(text)
    return fit(samples, samples[0], "fc7", ["adrenal", "retroperitoneum", "thorax"], config)


def test_kernel_is_approximated_for_many_samples_and_sorts_as_well(svm, large, samples):
    assert (svm.info["kernel"], large.info["kernel"]) == ("exact", "Nystroem, 40 landmarks")
    regions, _ = large.classify(samples[0])
    exact, _ = svm.classify(samples[0])
    assert np.mean([one == other for one, other in zip(regions, exact, strict=True)]) > 0.95
    far = np.full((1, 6), 40, np.float32)
    assert large.classify(far)[0] == ["other"]


def test_choice_and_familiarity_of_many_samples_come_from_a_few_whole_patients(svm, large, samples):
    assert svm.info["chosen_on_samples"] == 240
    assert large.info["chosen_on_samples"] == 90
    chosen = some_patients(samples[2], 90)
    counts = np.bincount(samples[2][chosen], minlength=8)
    assert sorted(counts.tolist()) == [0] * 5 + [30] * 3
    renamed = np.char.add("p", (9 - samples[2]).astype(str))
    np.testing.assert_array_equal(some_patients(renamed, 90), chosen)
    assert large.familiarity[-1].shape_fit_[0] == 90


def test_saved_approximate_svm_gives_the_same_probabilities(large, samples, tmp_path):
    organ.save(large, tmp_path)
    loaded = organ.load(tmp_path)
    for old, new in zip(large.classify(samples[0]), loaded.classify(samples[0]), strict=True):
        np.testing.assert_array_equal(old, new)


def test_damaged_or_missing_svm_is_one_error(svm, tmp_path):
    with pytest.raises(ModelError, match="make train-organ"):
        organ.load(tmp_path)
    organ.save(svm, tmp_path)
    (tmp_path / "svm.skops").write_bytes(b"PK\x05\x06 no zip")
    with pytest.raises(ModelError, match="cannot be read"):
        organ.load(tmp_path)


def test_one_patient_is_too_few_for_cross_validation(samples):
    features, labels, _ = samples
    with pytest.raises(ModelError, match="two training patients"):
        fit((features, labels, np.zeros(len(labels))), features, "fc7", ["a", "b", "c"])


def test_thresholds_leave_nearly_all_validation_slices_a_region(svm, samples):
    regions, _ = svm.classify(samples[0])
    assert 0 < regions.count("other") <= 0.02 * len(regions) + 2


@pytest.mark.parametrize(("blob", "length"), [("fc7", 1024), ("pool3", 4096)])
def test_features_are_the_nets_blob_rasterised_whatever_the_batch(blob, length, rng):
    net, transform = caffe_net.load_net(organ.DEPLOY), caffe_net.transform_of(organ.TRAIN_VAL)
    images = rng.integers(0, 255, (70, 64, 64), dtype=np.uint8)  # more than one batch
    features = organ.extract_features(net, transform, images, blob)
    assert features.shape == (70, length)
    alone = organ.extract_features(net, transform, images[66:67], blob)
    np.testing.assert_allclose(features[66:67], alone, atol=1e-5)
