"""report.json: the analysis as data."""

import json
from pathlib import Path

from nbcad import cli


def write_json(report: dict, path: Path) -> None:
    """Write the report of `pipeline.analyse`; not a number is refused, since JSON has none."""
    with cli.replacing_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
