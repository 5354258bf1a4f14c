"""Stages of patients, sides of the split and order of samples, once all images are in the database."""

from collections import Counter

import numpy as np

from nbcad.errors import DatabaseError
from nbcad.samples import splitting
from nbcad.samples.build_run import Build
from nbcad.samples.database_writer import Unit
from nbcad.samples.sampling import Sample


def set_stages(build: Build) -> None:
    """Give each patient the stage of its lesions.

    Raises:
        DatabaseError: a patient's lesions have two stages.
    """
    for found in build.database.stages_of_lesions():
        if found.lowest != found.highest:
            raise DatabaseError(
                f"a patient is annotated with two stages, {found.lowest} and {found.highest}, see {found.path}; "
                "correct that"
            )
        if found.lowest != found.recorded:
            build.database.set_stage(found.patient, found.lowest)


def refuse_phantom_among_patients(build: Build) -> None:
    """Raise `DatabaseError` if the database holds images of patients and of a phantom."""
    examples = build.database.example_of_each_kind()
    if len(examples) > 1:
        raise DatabaseError(
            f"{examples[0]} is a patient's, {examples[1]} a phantom's; keep them in two databases (--out)"
        )


def assign_sides(build: Build) -> None:
    """Give a side to every patient that has none; in a split by image, to every slice."""
    split = build.options.split
    unit: Unit = "patient" if split.by == splitting.BY_PATIENT else "slice"
    strata, assigned = build.database.strata(unit), build.database.sides(unit)
    for number, (side, fold) in split.assign(strata, assigned).items():
        build.database.insert_side(unit, number, side, fold)


def insert_samples(build: Build) -> None:
    """Number the new samples of each LMDB after the earlier ones.

    The order within a run is random and seeded (paper 3.2: images picked at random).
    """
    sides = build.database.sides_by_slice()
    next_keys = Counter({(keys.task, keys.split): keys.entries for keys in build.database.key_ranges()})
    seed = build.options.split.seed
    rng = np.random.default_rng([seed, next_keys.total()] if next_keys else seed)
    samples = [s for s in build.samples if s.jitter is None or sides[s.slice] == "train"]
    if build.options.balance:
        samples = _balanced(build, samples, sides, rng)
    for index in rng.permutation(len(samples)):
        sample = samples[index]
        side = sides[sample.slice]
        mirrored = bool(sample.task == "stage" and rng.random() < 0.5)  # a tumour may lie on either side of the body
        build.database.insert_sample(sample, side, next_keys[sample.task, side], mirrored)
        next_keys[sample.task, side] += 1


def _balanced(build: Build, samples: list[Sample], sides: dict[int, str], rng: np.random.Generator) -> list[Sample]:
    """Leave out training samples at random until no class has more than the rarest that occurs.

    Samples of earlier runs stay, so that the classes of a database that has grown may differ.
    """
    earlier = Counter(build.database.training_counts())
    by_class: dict[tuple[str, int], list[int]] = {}
    for index, sample in enumerate(samples):
        if sides[sample.slice] == "train":
            by_class.setdefault((sample.task, sample.label), []).append(index)
    left_out = set()
    for (task, label), indices in by_class.items():
        totals = [earlier[c] + len(by_class.get(c, [])) for c in {*earlier, *by_class} if c[0] == task]
        room = max(0, min(totals) - earlier[task, label])
        left_out.update(rng.permutation(indices)[room:].tolist())
    return [sample for index, sample in enumerate(samples) if index not in left_out]
