"""A `Map` on the workers of a Dask cluster, each checked before it works."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from nbcad.errors import WorkerError
from nbcad.nets import caffe_net
from nbcad.runtime import machine
from nbcad.runtime.parallel import ITEMS_A_WORKER, Item, Map, Result, in_order
from nbcad.runtime.paths import LABELS, MODELS

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local:"  # before a number of workers: a cluster of Dask's on this machine
GUIDE = "docs/cluster.md"
FIRST_WORKER_S = 60.0


@contextmanager
def on(dask: str | None, otherwise: Map, needed: Iterable[Path] = ()) -> Iterator[Map]:
    """Yield a `Map` on the workers of a Dask cluster.

    The items of a lost worker are repeated by another; a worker that arrives late joins in. Each worker has one thread,
    since a net serves one at a time.

    Args:
        dask: address of the scheduler, or ``local:N`` for N workers on this machine; None: ``otherwise`` is yielded.
        otherwise: the `Map` without Dask.
        needed: files and folders that every worker must see under the same paths.

    Raises:
        WorkerError: there is no scheduler or no worker, or a worker has other software or lacks a needed file.
    """
    if dask is None:
        yield otherwise
        return
    # Imported here, as it takes as long as all other imports together.
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        address = dask
        if dask.startswith(LOCAL):
            workers = int(dask.removeprefix(LOCAL))
            cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
            address = stack.enter_context(cluster).scheduler_address
        try:
            client = stack.enter_context(Client(address, set_as_default=False))
        except OSError as error:
            raise WorkerError(f"no Dask scheduler answers at {address}; {GUIDE} tells how to start one") from error
        try:
            client.wait_for_workers(1, FIRST_WORKER_S)
        except TimeoutError as error:
            raise WorkerError(f"the scheduler at {address} has no worker; {GUIDE} tells how to start some") from error
        terms = _Terms(os.getcwd(), tuple(software().items()), tuple(str(path.absolute()) for path in needed))
        _refuse_unfit(client, terms)
        yield partial(_by_dask, client, terms)


@dataclass(frozen=True)
class _Terms:
    """The conditions under which a worker can stand in for this process."""

    folder: str  # the working directory
    software: tuple[tuple[str, str], ...]  # see `software`
    needed: tuple[str, ...]  # paths


@dataclass(frozen=True, repr=False)  # Dask logs the arguments of what fails, and items name patients
class _Call:
    """One call for a worker."""

    function: Callable[[Any], Any]
    item: Any


def software() -> dict[str, str]:
    """Return the versions and hashes that results depend on, as this process runs them."""
    return machine.software() | caffe_net.software() | {"models and config/labels": _nets_and_labels()}


@cache
def _nets_and_labels() -> str:
    return machine.sha256(sorted([*MODELS.rglob("*.prototxt"), *LABELS.glob("*.txt")]))


def _refuse_unfit(client: "Client", terms: _Terms) -> None:
    """Raise `WorkerError` if any of the present workers is unfit."""
    for address, answer in client.run(_objection_of, terms, on_error="return").items():
        if answer:  # an exception if the package itself is missing or differs
            raise WorkerError(f"worker {address}: {answer}")


def _objection_of(terms: _Terms, dask_worker: Any) -> str:
    return _objection(terms, dask_worker.state.nthreads)


@lru_cache(maxsize=8)
def _objection(terms: _Terms, threads: int) -> str:
    """Return why this process, a worker, does not meet the terms, or an empty string."""
    if threads != 1:
        return f"it has {threads} threads, but a net serves one at a time; start it with --nthreads 1"
    missing = [path for path in (terms.folder, *terms.needed) if not Path(path).exists()]
    if missing:
        return f"{missing[0]} does not exist there; every worker must see the same files under the same paths"
    os.chdir(terms.folder)
    own = software()
    for name, wanted in terms.software:
        if own.get(name) != wanted:
            return f"{name} is {own.get(name)}, not {wanted}; bring it to the same state and restart it"
    return ""


def _by_dask(
    client: "Client", terms: _Terms, function: Callable[[Item], Result], items: Iterable[Item], /
) -> Iterator[Result]:
    from distributed import KilledWorker

    def submit(item: Item) -> Any:
        return client.submit(_work, terms, _Call(function, item), pure=False)

    try:
        yield from in_order(submit, items, lambda: max(1, ITEMS_A_WORKER * len(client.nthreads())))
    except KilledWorker as error:
        raise WorkerError(
            f"{error.allowed_failures + 1} workers were killed by the same piece of work, perhaps for lack of memory; "
            "their logs may say why"
        ) from error
    except CancelledError as error:
        raise WorkerError(f"the Dask scheduler is gone: {error}; start it and run the command again") from error


def _work(terms: _Terms, call: _Call) -> Any:
    """Run one call on a worker, checking the worker first: it may have joined after the initial check."""
    from distributed import get_worker

    worker = get_worker()
    if objection := _objection(terms, worker.state.nthreads):
        raise WorkerError(f"worker {worker.address}: {objection}")
    os.chdir(terms.folder)  # another call may have changed it
    cv2.setNumThreads(1)
    return call.function(call.item)
