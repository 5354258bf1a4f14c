"""Sides of patients or of images: what goes to training, validation and test."""

from collections import Counter

import numpy as np
import pytest

import make_hospital
from make_hospital import build_database
from nbcad.errors import DatabaseError, SplitError
from nbcad.evaluation import truth
from nbcad.samples.build_run import Options
from nbcad.samples.database import SampleDatabase
from nbcad.samples.split_bias import measure_split_bias
from nbcad.samples.splitting import SplitPlan
from repository import run_tool
from sample_database import query


def test_every_patient_is_on_one_side_and_each_stage_on_all(hospital):
    build_database(hospital)
    splits = query(hospital / "out" / "samples.sqlite", "SELECT stage, side FROM patient JOIN split USING (patient)")
    assert Counter(s["side"] for s in splits) == {"train": 8, "val": 2, "test": 2}
    assert {(s["stage"], s["side"]) for s in splits} >= {("L1", "train"), ("normal", "train")}


def test_split_by_image_says_what_it_does_to_the_figures(hospital):
    done = run_tool(
        "make_database", "--dicom", hospital, "--annotations", hospital / "annotations.csv", "--split-by", "image",
        "--out", hospital / "out" / "samples.sqlite",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of 12 patients are on several sides, 7 of 7 test slices of training patients" in done.stdout
    assert "not to be compared" in done.stdout
    assert "the nearest training slice names the region of" in done.stdout


def test_classifier_that_knows_only_patients_shines_if_split_by_image(tmp_path, rng):
    """Every patient looks alike on all slices, unlike any other, and all slices of one bear one region."""
    of_patient = [rng.integers(50, 900, (60, 60)) for _ in range(12)]

    def edit(number, index, image):
        image.PixelData = (of_patient[number] + rng.integers(0, 9, (60, 60))).astype(np.uint16).tobytes()

    make_hospital.hospital(tmp_path, rng, edit=edit)
    lines = (tmp_path / "annotations.csv").read_text().splitlines()
    regions = [make_hospital.ORGANS[n] for n in rng.integers(0, 3, 12)]
    rows = [line.split(",") for line in lines[1:]]
    lines[1:] = [",".join([*row[:2], regions[n // 4], *row[3:]]) for n, row in enumerate(rows)]
    (tmp_path / "annotations.csv").write_text("\n".join(lines) + "\n")
    plan = SplitPlan(by="image", shares=(0.6, 0.1, 0.3))
    build_database(tmp_path, Options(plan))
    bias = measure_split_bias(tmp_path / "out" / "samples.sqlite", plan)
    assert bias.by_image == 1.0 and bias.by_patient < 0.7


def test_figures_by_patient_cannot_be_had_from_a_split_by_image(hospital):
    build_database(hospital, Options(SplitPlan(by="image")))
    with (
        SampleDatabase.open(hospital / "out" / "samples.sqlite") as database,
        pytest.raises(DatabaseError, match="split by patient"),
    ):
        next(truth.read_split(database, "test"))


def test_an_image_that_stands_twice_in_a_patient_stops_a_split_by_image(tmp_path, rng):
    def still(number, index, image):
        if number == 4:
            image.PixelData = np.full((60, 60), 7, np.uint16).tobytes()[:-2] + b"\x09\x00"

    make_hospital.hospital(tmp_path, rng, edit=still)
    build_database(tmp_path)
    with pytest.raises(SplitError, match=r"p4/\d and .*p4/\d hold one image, yet"):
        build_database(tmp_path, Options(SplitPlan(shares=(0.4, 0.3, 0.3), by="image")), force=True)


def test_folds_are_kept_in_the_database_and_fit_together(hospital):
    tested = []
    for fold in range(4):
        build_database(hospital, Options(SplitPlan(folds=4, fold=fold)), force=True)
        rows = query(hospital / "out" / "samples.sqlite", "SELECT patient, side, fold FROM split")
        tested += [row["patient"] for row in rows if row["side"] == "test"]
        assert {row["fold"] for row in rows if row["side"] == "test"} == {fold}
        assert {row["fold"] for row in rows if row["side"] == "val"} == {(fold + 1) % 4}
    assert len(tested) == len(set(tested)) == 12
