"""The texts of Python sources, for babel: what `make messages` puts into the catalogues."""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import IO

_TEMPLATES = ("message", "counted")  # of `language.message`, whose templates must be literals


def extract(
    source: IO[bytes], keywords: Collection[str], comment_tags: Collection[str], options: Mapping[str, object]
) -> Iterator[tuple[int, str, tuple[str | None, ...], list[str]]]:
    """Yield line, function and text arguments of each call of a function that takes texts to be translated.

    babel's own extractor misses calls within the arguments of others.

    Args:
        source: of a module.
        keywords: names of the functions.
        comment_tags, options: as babel gives them; not used.

    Raises:
        SyntaxError: a template is put together at run time, so that no catalogue can hold it.
    """
    calls = [node for node in ast.walk(ast.parse(source.read())) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: call.lineno):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name not in keywords:
            continue
        texts = tuple(map(_literal, call.args))
        if name in _TEMPLATES and None in (texts or (None,)):
            raise SyntaxError(f"line {call.lineno}: a template of {name}() must be a literal: {ast.unparse(call)}")
        yield call.lineno, name, texts, []


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
