"""Docstrings stand alone: a first line that is a sentence, and that does not continue the name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository import ROOT

SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("python/nbcad", "tools", "caffe", "image", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
# A first line that opens with one of these is a clause without a verb of its own, or goes on from the name.
CONTINUES = {
    "And", "Anew", "As", "By", "From", "How", "If", "In", "Of", "That", "To", "What", "When", "Where", "Whether",
    "Which", "Who", "Whose", "Why", "With",
}  # fmt: skip


def _documented(path: Path) -> list[tuple[ast.AST, str]]:
    """Return the functions and classes of a file that have a docstring, with its first line."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = (node for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, kinds))
    return [(node, text.splitlines()[0]) for node in nodes if (text := ast.get_docstring(node))]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_first_line_of_a_docstring_stands_alone(path):
    for node, line in _documented(path):
        where = f"{path}:{node.lineno} {node.name}: {line}"
        assert line.split()[0].strip("`") not in CONTINUES, where
        assert line[0].isupper() or line[0] == "`", where
        assert line.endswith((".", ":")), where


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] == "python"], ids=str)
def test_public_function_class_or_method_has_a_docstring(path):
    for node in _public(ast.parse((ROOT / path).read_text())):
        assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yield the public functions and classes of a module or class, and those of these classes."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)
