"""A function of many items, its results in the items' order: in this process, on this machine's cores, or by Dask.

However it is done, only a few items for each worker are on their way at a time, and what a function raises is raised
here. Functions and items are sent to other processes, so they are what pickle can send by name and by value; images and
models are files, which workers read by their paths.
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
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import cv2

from nbcad.errors import WorkerError

if TYPE_CHECKING:
    pass


ITEMS_A_WORKER = 2  # items on their way: one in work, and one that waits
Item = TypeVar("Item")
Result = TypeVar("Result")


class Map(Protocol):
    """Calls a function for each item and yields the results in the items' order, as Python's ``map`` does here.

    Raises:
        WorkerError: a worker was killed, or does not fit.
    """

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]: ...


def on_cores(workers: int) -> Map:
    """A `Map` on so many processes, which are forked from this one and live while the results are read."""
    return partial(_on_cores, workers)


def in_order(submit: Callable[[Item], Any], items: Iterable[Item], most: Callable[[], int]) -> Iterator[Any]:
    """Results of futures in the order of their items, of which at most ``most()`` are on their way."""
    items = iter(items)
    pending: deque[Any] = deque()
    while True:
        pending.extend(map(submit, islice(items, max(0, most() - len(pending)))))
        if not pending:
            return
        yield pending.popleft().result()


def _on_cores(workers: int, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
    # Before the workers are forked: they would wait for OpenCV's threads, which do not live on in a forked process.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with ProcessPoolExecutor(workers, initializer=_begin_process) as pool:
        try:
            yield from in_order(lambda item: pool.submit(function, item), items, lambda: ITEMS_A_WORKER * workers)
        except BrokenProcessPool as error:
            raise WorkerError("a worker process was killed, perhaps for want of memory; run the same again") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            cv2.setNumThreads(threads)


def _begin_process() -> None:
    """Ctrl-C is the parent's to handle; no worker outlives its parent, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
