"""A small hospital for tests of the sample database: patients of four slices, with annotations."""

from pathlib import Path

from make_dicom import mr_image, write
from nbcad.annotation.annotations import HEADER
from nbcad.samples import build
from nbcad.samples.build_run import Options

ORGANS = ["thorax", "adrenal", "retroperitoneum", ""]


def hospital(folder, rng, patients=range(12), edit=lambda number, index, image: None):
    """Patients of four 60x60 slices at 2 mm in ``folder``/pN/N; odd ones have one L1 lesion on slice 1.

    ``annotations.csv`` is appended to.
    """
    path = folder / "annotations.csv"
    lines = path.read_text().splitlines() if path.exists() else [",".join(HEADER)]
    for number in patients:
        for index in range(4):
            image = mr_image(rng.integers(50, 900, (60, 60)), (0, 0, 5.0 * index))
            image.PatientID = f"P{number}"
            image.StudyInstanceUID, image.SeriesInstanceUID = f"2.25.{number}", f"2.25.{number}.1"
            edit(number, index, image)
            write(image, folder / f"p{number}" / str(index))
            lesion = number % 2 == 1 and index == 1
            box = "L1,20,24,32,36" if lesion else "normal,,,,"
            lines.append(f"{image.SOPInstanceUID},0,{ORGANS[index]},{box}")
    path.write_text("\n".join(lines) + "\n")


def build_database(folder: Path, options: Options | None = None, **more):
    """Build the sample database of a hospital, ``folder``/out/samples.sqlite."""
    labels = more.pop("labels", [folder / "annotations.csv"])
    return build.build(folder, labels, folder / "out" / "samples.sqlite", options, **more)
