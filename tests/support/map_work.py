"""Work for a `Map`: functions that every worker can import, and what holds for it wherever it is done."""

import os
import signal
import time
from pathlib import Path

import pytest

from nbcad.errors import InputError
from nbcad.inference import models
from nbcad.runtime.parallel import Map


def twice(number: int) -> int:
    return 2 * number


def twice_slowly(number: int) -> int:
    """Long enough for the next item to go to another worker."""
    time.sleep(0.1)
    return 2 * number


def refuse_third(number: int) -> int:
    if number == 3:
        raise InputError(f"item {number} is damaged")
    return number


def die_once(item: tuple[Path, int]) -> int:
    """Number 3 takes its process with it the first time."""
    marker, number = item
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def loads_and_uses() -> tuple[int, int]:
    """How often this process loaded models, and used them."""
    info = models.kept_models.cache_info()
    return info.misses, info.misses + info.hits


def check_order(map_: Map) -> None:
    """Results come in the order of their items, of which few are on their way at a time."""
    taken = 0

    def items():
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    done = 0
    for result in map_(twice, items()):
        assert result == 2 * done
        done += 1
        assert taken - done <= 2 * 2
    assert done == 20


def check_error(map_: Map) -> None:
    """The error of an item is raised as it is, after the results before it."""
    results = map_(refuse_third, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="item 3 is damaged"):
        next(results)
