#!/usr/bin/env python3
"""A DICOM node: receives studies by C-STORE, analyses them, sends the results to an archive. Research use only."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.language import LANGUAGES
from nbcad.node import log
from nbcad.node.config import read_config
from nbcad.node.node import Node
from nbcad.runtime.paths import NODE_CONFIG


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--config", type=Path, default=NODE_CONFIG, metavar="TOML", help="settings")
    arguments.add_argument("--folder", metavar="DIR", help="of received studies, reports and the queue")
    arguments.add_argument("--bind", metavar="ADDRESS", help="to listen on; 0.0.0.0: all of this machine")
    arguments.add_argument("--port", type=int, help="to listen on")
    arguments.add_argument("--ae-title", metavar="TITLE", help="of the node")
    arguments.add_argument("--sender", action="append", metavar="TITLE", help="who may send; again for another one")
    arguments.add_argument("--destination", type=_destination, metavar="TITLE@HOST:PORT", help="archive of the results")
    arguments.add_argument("--models", metavar="DIR", help="folder of the trained models")
    arguments.add_argument("--stage", metavar="DIR", help="folder of another stager than MODELS/stage")
    arguments.add_argument("--device", type=cli.device, help="cpu or cuda:N")
    arguments.add_argument("--lang", choices=LANGUAGES, help="language of the report's pages")
    arguments.epilog = "An option goes before what the settings say."
    options = arguments.parse_args()
    config = read_config(options.config, _given(options))
    log.start()
    with Node(config) as node:
        return cli.DONE if node.wait() else cli.FAILED


def _destination(text: str) -> dict:
    """Argument type: TITLE@HOST:PORT as a table of the settings."""
    title, at, address = text.partition("@")
    host, colon, port = address.rpartition(":")
    if not (title and at and host and colon and port.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not TITLE@HOST:PORT")
    return {"ae_title": title, "host": host.strip("[]"), "port": int(port)}


def _given(options: argparse.Namespace) -> dict:
    """The options that were given, as tables of the settings."""
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


if __name__ == "__main__":
    cli.run(main)
