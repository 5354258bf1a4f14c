"""The trained models on DICOM: region, lesions and stage of every series and patient, and what became of every file."""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom import Series, Slice, read_pixels
from nbcad.imaging.preprocess import enhance
from nbcad.inference import heat as localise
from nbcad.inference import organ, suitability
from nbcad.inference.lesions import Lesion, find_lesions
from nbcad.inference.models import Models
from nbcad.inference.suitability import Suitability


@dataclass
class SeriesAnalysis:
    """The findings in one series; arrays run over its n readable slices."""

    series: Series
    slices: list[Slice]
    volume: np.ndarray  # uint8 (n, rows, columns), enhanced, as stored
    organs: list[str]  # n labels of regions, "other" included
    organ_probabilities: np.ndarray  # (n, regions)
    heat: np.ndarray  # (n, stages, height, width), see localise.heat_maps
    suitability: Suitability
    lesions: list[Lesion]  # none where the series is unsuited, or no region was recognised (paper 3.1(3))

    @property
    def tumour(self) -> np.ndarray:
        """Return the highest tumour probability of each slice, shape (n,)."""
        return 1 - self.heat[:, 0].min(axis=(1, 2))


def analyse_series(series: Series, models: Models) -> SeriesAnalysis | None:
    """Return region, heat and lesions of one series; None if none of its slices can be read."""
    slices, pixels = read_pixels(series)
    if not slices:
        return None
    volume = enhance(pixels, models.n4)
    features = organ.series_features(models.organ_net, models.organ_transform, volume, slices[0], models.svm.blob)
    heat = localise.heat_maps(models.stage_fcn, models.stage_transform, slices, volume)
    organs, probabilities = models.svm.classify(features)
    limits = models.likeness.limits
    measures = suitability.measure(series, organs, models.likeness.unlikeness(features), limits)
    suited = suitability.of_series(series, measures, limits, models.trained_on)
    lesions = find_lesions(heat, slices, models.point) if suited.answered else []
    return SeriesAnalysis(
        series=series,
        slices=slices,
        volume=volume,
        organs=organs,
        organ_probabilities=probabilities,
        heat=heat,
        suitability=suited,
        lesions=[models.calibration.calibrate_lesion(lesion) for lesion in lesions],
    )
