"""Words in the names of series, which scanners and people join in many ways: T2_TSE_tra, STIR3mm, SagT2, 轴位T2.

A word ends at every sign that is no letter and no digit, the underscore included, and at the border of Chinese
characters. Its parts count as words, too: those that begin with a capital ("SagT2": sag, t2), and runs of at least
three letters beside digits ("STIR3mm": stir). No other part of a word counts: HEADCOIL says nothing of an ADC.
"""

import re
import unicodedata
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

_CHINESE = "\u3400-\u9fff"
_WORD = re.compile(rf"[{_CHINESE}]+|[^\W_{_CHINESE}]+")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTERS = re.compile(r"[^\W\d_]{3,}")


@lru_cache(maxsize=256)
def words(text: str) -> frozenset[str]:
    """Return all words of a text and their parts, in small letters."""
    found = set()
    for word in _WORD.findall(plain(text)):
        parts = [word, *_CAPITAL.split(word)]
        found |= {part.lower() for part in (*parts, *(run for part in parts for run in _LETTERS.findall(part)))}
    return frozenset(found)


def plain(text: str) -> str:
    """Return a text with each character in its plain form, as full-width letters are not."""
    return unicodedata.normalize("NFKC", text)


def found_in(text: str, patterns: Iterable[str]) -> str:
    """Return the first word of a text that one of the patterns means, empty if there is none.

    Args:
        text: a name of a series.
        patterns: words in small letters, in which * stands for any letters and digits. Several with blanks between
            them mean words that follow each other. Chinese ones mean any place, as no sign stands between these words.
    """
    have = sorted(words(text))
    in_order = " ".join(word.lower() for word in _WORD.findall(plain(text)))
    for pattern in patterns:
        if " " in pattern or not pattern.isascii():
            if (pattern in in_order) if not pattern.isascii() else f" {pattern} " in f" {in_order} ":
                return pattern
            continue
        for word in have:
            if fnmatchcase(word, pattern):
                return word
    return ""
