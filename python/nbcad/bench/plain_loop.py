"""The loop that anyone would write with pydicom, OpenCV, scikit-learn and pycaffe: one slice and one pass at a time.

It has the nets, the SVM and the answers for each slice of `nbcad infer`, but checks no input, and gives neither lesions
nor a report. It is right for one axial series whose columns run to left and rows to posterior, like that of the
benchmark's study. It uses nothing of this package.

Arguments: the folders of the DICOM files, of the organ model and of the stager; the JSON file to write, which gets
[SOP Instance UID, region, highest tumour probability] for each slice.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "2")  # Caffe reads it when it is imported

import caffe
import cv2
import numpy as np
import pydicom
import skops.io

MM, HALF_WINDOW, STRIDE = 2.0, 16, 4  # of the stager: side of a pixel, pixels around the slice, pixels between windows
MEAN, SCALE = 64, 0.015625  # of both nets' transform_param
TRUSTED = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"]
CLAHE = cv2.createCLAHE(2.0, (8, 8))


def load_stager(folder: Path) -> caffe.Net:
    """Load the LeNet-5 as a fully convolutional net, by net surgery as in Caffe's example of that name."""
    trained = caffe.Net("models/stage_lenet5/deploy.prototxt", str(folder / "final.caffemodel"), caffe.TEST)
    net = caffe.Net("models/stage_lenet5/fcn.prototxt", caffe.TEST)
    for name, blobs in net.params.items():
        for blob, values in zip(blobs, trained.params[name.removesuffix("-conv")], strict=True):
            blob.data.flat = values.data.flat
    return net


def organ_input(image: np.ndarray, spacing: list[float], size: int) -> np.ndarray:
    """Put a slice in the middle of a square, in true proportions, and equalise it; uint8, shape (size, size)."""
    height, width = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    rows, columns = round(size * height / max(height, width)), round(size * width / max(height, width))
    square = np.zeros((size, size), np.uint8)
    top, left = (size - rows) // 2, (size - columns) // 2
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    square[top : top + rows, left : left + columns] = small
    return CLAHE.apply(square)


def stage_input(image: np.ndarray, spacing: list[float]) -> np.ndarray:
    """Resample a slice to 2 mm a pixel, equalise it, and pad it by half a window of zeros; uint8."""
    rows, columns = (round(n * mm / MM) for n, mm in zip(image.shape, spacing, strict=True))
    grid = CLAHE.apply(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA))
    return np.pad(grid, [(HALF_WINDOW, HALF_WINDOW + -n % STRIDE) for n in grid.shape])


def forward(net: caffe.Net, image: np.ndarray, blob: str) -> np.ndarray:
    """Run a net on one image, as a batch of one, and return a blob of it."""
    net.blobs["data"].reshape(1, 1, *image.shape)
    net.blobs["data"].data[0, 0] = (image.astype(np.float32) - MEAN) * SCALE
    net.forward()
    return net.blobs[blob].data[0]


def main() -> None:
    """Write the answers for all slices."""
    dicom, organ, stage, out = map(Path, sys.argv[1:])
    organ_net = caffe.Net("models/organ_net/deploy.prototxt", str(organ / "final.caffemodel"), caffe.TEST)
    size = organ_net.blobs["data"].shape[3]
    stager = load_stager(stage)
    svm, info = skops.io.load(organ / "svm.skops", trusted=TRUSTED), json.loads((organ / "svm.json").read_text())

    files = [pydicom.dcmread(path) for path in sorted(dicom.iterdir())]
    files.sort(key=lambda file: file.ImagePositionPatient[2])
    slices = [file.pixel_array * float(file.get("RescaleSlope", 1)) for file in files]
    low, high = np.percentile(slices, (1.0, 99.5))

    answers = []
    for file, pixels in zip(files, slices, strict=True):
        image = np.round((np.clip(pixels, low, high) - low) * 255 / (high - low)).astype(np.uint8)
        spacing = [float(mm) for mm in file.PixelSpacing]
        features = forward(organ_net, organ_input(image, spacing, size), info["blob"]).reshape(1, -1)
        probabilities = svm["classifier"].predict_proba(features)[0]
        familiar = svm["familiarity"].score_samples(features)[0] >= info["thresholds"]["familiarity"]
        sure = probabilities.max() >= info["thresholds"]["probability"]
        region = info["labels"][probabilities.argmax()] if sure and familiar else "other"
        normal = forward(stager, stage_input(image, spacing), "prob")[0]
        answers.append([file.SOPInstanceUID, region, float(1 - normal.min())])
    out.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
