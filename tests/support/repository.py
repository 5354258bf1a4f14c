"""The repository and its tools, for tests that run them as a user does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name: str, *arguments) -> subprocess.CompletedProcess:
    """Run one of tools/ from the repository's root."""
    command = [sys.executable, f"tools/{name}.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
