from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcad.samples.splitting import SplitPlan

STAGES = {str(n): "L1" if n % 2 else "normal" for n in range(100)}


def _sides(plan, strata, standing=None):
    return {unit: side for unit, (side, _) in plan.assign(strata, standing or {}).items()}


def test_split_is_stratified_and_follows_the_seed():
    sides = _sides(SplitPlan(seed=1), STAGES)
    assert Counter(sides.values()) == {"train": 70, "val": 15, "test": 15}
    assert Counter(STAGES[p] for p, side in sides.items() if side == "train") == {"L1": 35, "normal": 35}
    assert sides == _sides(SplitPlan(seed=1), STAGES) != _sides(SplitPlan(seed=2), STAGES)


def test_shares_are_those_asked_for():
    sides = _sides(SplitPlan(shares=(0.5, 0.2, 0.3)), STAGES)
    assert Counter(sides.values()) == {"train": 50, "val": 20, "test": 30}


def test_each_patient_is_tested_in_one_fold_and_validated_in_one():
    plans = [_sides(SplitPlan(folds=5, fold=fold), STAGES) for fold in range(5)]
    for patient in STAGES:
        assert Counter(plan[patient] for plan in plans) == {"train": 3, "val": 1, "test": 1}
    for plan in plans:
        tested = [STAGES[p] for p, side in plan.items() if side == "test"]
        assert Counter(tested) == {"L1": 10, "normal": 10}


@pytest.mark.parametrize("plan", [SplitPlan(), SplitPlan(folds=4, fold=1)])
def test_new_patients_fill_up_what_each_stage_lacks(plan):
    first = {p: STAGES[p] for p in list(STAGES)[:37]}
    standing = plan.assign(first, {})
    more = plan.assign(STAGES, standing)
    assert more.keys() == STAGES.keys() - first.keys()
    sides = {unit: side for unit, (side, _) in (standing | more).items()}
    for stage in ("L1", "normal"):
        count = Counter(sides[p] for p in STAGES if STAGES[p] == stage)
        assert abs(count["test"] - 50 * (0.25 if plan.folds else 0.15)) <= 1.5, count


def test_one_sided_stage_is_evened_out_by_its_new_patients():
    strata = {n: "L1" if n < 5 or n >= 10 else "normal" for n in range(15)}
    sides = ["train"] * 5 + ["train", "val", "val", "test", "test"]  # together as they should be, each stage not
    new = SplitPlan().assign(strata, {n: (side, None) for n, side in enumerate(sides)})
    assert Counter(side for side, _ in new.values()) in (
        {"train": 2, "val": 2, "test": 1},
        {"train": 2, "val": 1, "test": 2},
    )


@given(
    st.lists(st.sampled_from(["normal", "L1", "L2", "M", "MS"]), max_size=60),
    st.integers(0, 60),
    st.integers(0, 5),
)
def test_whoever_has_a_side_keeps_it_and_the_shares_are_held(stages, first, seed):
    strata = dict(enumerate(stages))
    plan = SplitPlan(seed=seed)
    standing = plan.assign({n: strata[n] for n in list(strata)[:first]}, {})
    new = plan.assign(strata, standing)
    assert not new.keys() & standing.keys() and new.keys() | standing.keys() == strata.keys()
    count = Counter(side for side, _ in (standing | new).values())
    for side, share in {"train": 0.70, "val": 0.15, "test": 0.15}.items():
        assert abs(count[side] - share * len(stages)) <= 3
