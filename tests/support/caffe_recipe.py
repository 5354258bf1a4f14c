"""The recipe in caffe/ and the Caffe that came out of it."""

import os
import subprocess
from pathlib import Path

import caffe

from repository import ROOT

RECIPE = ROOT / "caffe"
BUILD = Path(caffe.__file__).resolve().parents[2]


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(RECIPE / name), *arguments], capture_output=True, text=True, check=False, env=os.environ | environment
    )
