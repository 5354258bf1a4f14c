"""The pages as a server in a thread of the node's process."""

import ipaddress
import socket
import threading
from typing import Any
from wsgiref.types import WSGIApplication

from waitress import wasyncore
from waitress.server import create_server

from nbcad.errors import InputError
from nbcad.node.jobs import Jobs
from nbcad.node.pages.app import create_app
from nbcad.node.pages.config import Config

_THREADS = 4


class Server:
    """The pages, being served."""

    def __init__(self, app: WSGIApplication, listening: socket.socket):
        """Args: the pages; a listening socket, which the server closes."""
        host, self.port = listening.getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._sockets: dict = {}
        # Headers of a proxy are left as they come: they tell that /health is asked from elsewhere than this machine.
        self._server: Any = create_server(
            app, map=self._sockets, sockets=[listening], threads=_THREADS, ident=None,
            clear_untrusted_proxy_headers=False,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.run, name="pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more; requests that are being answered have 5 seconds."""
        self._server.task_dispatcher.shutdown()
        # In the thread that waits for the sockets: to close them from another would leave it waiting for what is gone.
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._sockets))
        self._thread.join()


def serve(jobs: Jobs, config: Config) -> Server:
    """Serve the pages of a queue until `Server.close`.

    Raises:
        InputError: the host is no address.
        OSError: it is none of this machine, or the port is taken.
    """
    try:
        version = ipaddress.ip_address(config.host).version
    except ValueError:
        raise InputError(f"{config.host} is no IP address; give one of this machine, as 127.0.0.1") from None
    app = create_app(jobs, config)
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    return Server(app, socket.create_server((config.host, config.port), family=family))
