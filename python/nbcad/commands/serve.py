"""Run a DICOM node: it receives studies by C-STORE, analyses them, and sends the results to an archive.

An option goes before what the settings say. Research use only.
"""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.language import LANGUAGES
from nbcad.runtime import paths, verbosity

HELP = "run a DICOM node that analyses what it receives"
EXAMPLES = (
    "nbcad serve --sender ORTHANC --destination ORTHANC@127.0.0.1:4242",
    "nbcad serve --config /etc/nbcad/node.toml",
    "nbcad serve --sender MR1 --bind 0.0.0.0 --port 11112 --folder /var/lib/nbcad --device cuda:0",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--config", type=Path, default=paths.from_here(paths.NODE_CONFIG), metavar="TOML", help="settings"
    )
    parser.add_argument("--folder", type=_absolute, metavar="DIR", help="of received studies, reports and the queue")
    parser.add_argument("--bind", metavar="ADDRESS", help="to listen on; 0.0.0.0: all of this machine")
    parser.add_argument("--port", type=int, help="to listen on")
    parser.add_argument("--ae-title", metavar="TITLE", help="of the node")
    parser.add_argument("--sender", action="append", metavar="TITLE", help="who may send; again for another one")
    parser.add_argument("--destination", type=_destination, metavar="TITLE@HOST:PORT", help="archive of the results")
    parser.add_argument("--models", type=_absolute, metavar="DIR", help="folder of the trained models")
    parser.add_argument("--stage", type=_absolute, metavar="DIR", help="folder of another stager than MODELS/stage")
    parser.add_argument("--device", type=cli.device, help="cpu or cuda:N")
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the report's pages")


def run(options: argparse.Namespace) -> int:
    """Run the node until a signal ends it."""
    from nbcad.node import log
    from nbcad.node.config import read_config
    from nbcad.node.node import Node

    config = read_config(options.config, _given(options))
    log.start(verbosity.level())
    with Node(config) as node:
        return cli.DONE if node.wait() else cli.FAILED


def _absolute(text: str) -> str:
    """Parse a path relative to the working directory into an absolute one; those of the settings start elsewhere."""
    return str(Path(text).absolute())


def _destination(text: str) -> dict:
    """Parse TITLE@HOST:PORT into a table of the settings."""
    title, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (title and at and host and colon and port.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not TITLE@HOST:PORT")
    return {"ae_title": title, "host": host.strip("[]"), "port": int(port)}


def _given(options: argparse.Namespace) -> dict:
    """Return the options that were given, as tables of the settings."""
    tables = {
        "folder": options.folder,
        "receive": {
            "bind": options.bind,
            "port": options.port,
            "ae_title": options.ae_title,
            "senders": options.sender,
        },
        "analyse": {key: getattr(options, key) for key in ("models", "stage", "device", "lang")},
        "send": options.destination or {},
    }
    return {
        key: {name: value for name, value in table.items() if value is not None} if isinstance(table, dict) else table
        for key, table in tables.items()
        if table is not None
    }
