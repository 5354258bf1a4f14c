"""Imports run downwards only: the table in docs/architecture.md is the order, and the sources are held to it."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from repository import ROOT

PACKAGE = ROOT / "python/nbcad"
PAGE = "docs/architecture.md"
COMMAND_LINE = ("nbcad.cli", "nbcad.commands", "nbcad.__main__")


def _read_table() -> dict[str, set[str]]:
    """Return what each folder or module of the package may import, in the order of the page, lowest first."""
    section = (ROOT / PAGE).read_text(encoding="utf-8").split("## What does each folder of the package do?")[1]
    allowed: dict[str, set[str]] = {}
    for name, may_import in re.findall(r"^\| `(\w+)(?:/|\.py)` \|.*\|([^|]*)\|$", section, re.MULTILINE):
        everything = may_import.strip() == "everything above"
        allowed[name] = set(allowed) if everything else set(re.findall(r"`(\w+)`", may_import))
    return allowed


ALLOWED = _read_table()


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _imports(module: str) -> frozenset[str]:
    """Return what a module imports anywhere in it, also within its functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by a relative name, which this test does not follow"
            for name in node.names:
                submodule = f"{node.module}.{name.name}"
                found.add(submodule if submodule in MODULES else str(node.module))
    return frozenset(found)


def _reached_from(folder: str) -> set[str]:
    """Return all modules, of the package or not, that are loaded with any module of a folder."""
    reached: set[str] = set()
    waiting = {module for module in MODULES if module == folder or module.startswith(f"{folder}.")}
    while waiting:
        reached |= waiting
        found = {name for module in waiting & MODULES.keys() for name in _imports(module)}
        waiting = (found | {parent for name in found for parent in _parents(name)}) - reached
    return reached


def _parents(module: str) -> set[str]:
    """Return the packages that are loaded with a module."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def _top(module: str) -> str:
    """Return the folder or module of the package's root that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def test_every_folder_and_module_has_one_place_in_the_order():
    there = {path.stem for path in PACKAGE.glob("[!_]*.py")} | {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert set(ALLOWED) == there, f"the table of {PAGE} must list each"


def test_table_allows_only_imports_of_what_stands_above():
    names = list(ALLOWED)
    for number, (name, allowed) in enumerate(ALLOWED.items()):
        assert allowed <= set(names[:number]), name


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_are_those_that_the_table_allows(name):
    for module in MODULES:
        if _top(module) == name:
            own = {_top(found) for found in _imports(module) if found in MODULES} - {"", name}
            assert own <= ALLOWED[name], f"{module} imports {sorted(own - ALLOWED[name])}; see {PAGE}"


def test_no_module_imports_itself_through_others():
    graph = {module: [found for found in _imports(module) if found in MODULES] for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_runtime_reaches_neither_caffe_nor_dicom():
    reached = _reached_from("nbcad.runtime")
    assert {name.split(".")[0] for name in reached} & {"caffe", "pydicom", "pynetdicom", "highdicom"} == set()
    assert {_top(name) for name in reached & MODULES.keys()} <= {"", "runtime", *ALLOWED["runtime"]}


def test_inference_reaches_no_command_line():
    assert [name for name in _reached_from("nbcad.inference") if name.startswith(COMMAND_LINE)] == []


def test_processes_that_share_work_do_not_load_caffe_for_it():
    program = "import sys, nbcad.runtime.parallel; print(*(name for name in sys.modules if 'caffe' in name))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
