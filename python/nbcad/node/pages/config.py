"""The settings of the pages."""

from collections.abc import Callable
from dataclasses import dataclass

from nbcad.language import LANGUAGES


@dataclass(frozen=True)
class Config:
    """The settings of the pages.

    Attributes:
        token: whoever has it may see the pages, see `read_token`.
        worker_alive: whether studies are being analysed.
        listening: whether the storage SCP takes associations.
        host: an address of this machine. Others than loopback carry patients' names and the token over the network in
            the clear: let a server that speaks TLS stand before it instead.
        port: 0 for any that is free.
        least_free: bytes of the queue's disk, without which the node is not healthy.
        language: one of `language.LANGUAGES`.
    """

    token: str
    worker_alive: Callable[[], bool]
    listening: Callable[[], bool]
    host: str = "127.0.0.1"
    port: int = 8080
    least_free: int = 1 << 30
    language: str = LANGUAGES[0]
