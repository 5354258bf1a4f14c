"""report.json: the analysis as data."""

import json
from pathlib import Path

from nbcad.runtime.files import replacing_file


def write_json(report: dict, path: Path) -> None:
    """Write the report of `infer.analyse`; not a number is refused, since JSON has none."""
    with replacing_file(path) as temporary, temporary.open("w") as file:
        json.dump(report, file, indent=2, allow_nan=False)  # piece by piece: its text is never whole in memory
        file.write("\n")
