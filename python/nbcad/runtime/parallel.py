"""One function applied to many items, in this process or on this machine's cores; `nbcad.cluster` adds Dask.

Results come in the order of the items, only a few items per worker are under way at a time, and an exception of the
function is raised here. Functions and items travel to other processes by pickle; images and models are files that the
workers read by path.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

import cv2

from nbcad.errors import WorkerError

ITEMS_A_WORKER = 2  # one under way and one waiting
Item = TypeVar("Item")
Result = TypeVar("Result")


class Map(Protocol):
    """A callable like Python's ``map``: calls a function for each item and yields the results in the items' order.

    Raises:
        WorkerError: a worker was killed or is unfit.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def on_cores(workers: int) -> Map:
    """Return a `Map` on a number of processes, forked from this one and alive while the results are read."""
    return partial(_on_cores, workers)


def in_order(submit: Callable[[Item], Any], items: Iterable[Item], most: Callable[[], int]) -> Iterator[Any]:
    """Yield the results of futures in the order of their items, with at most ``most()`` of them under way."""
    items = iter(items)
    pending: deque[Any] = deque()
    while True:
        pending.extend(map(submit, islice(items, max(0, most() - len(pending)))))
        if not pending:
            return
        yield pending.popleft().result()


def _on_cores(workers: int, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
    # Set before forking: a worker would wait for OpenCV's threads, which do not survive the fork.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with ProcessPoolExecutor(workers, initializer=_begin_process) as pool:
        try:
            yield from in_order(lambda item: pool.submit(function, item), items, lambda: ITEMS_A_WORKER * workers)
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process was killed, perhaps for lack of memory; run the command again"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            cv2.setNumThreads(threads)


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, and end this worker with its parent, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
