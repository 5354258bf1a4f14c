"""Pages in the reader's language: gettext catalogues, and the pipeline's own sentences found again in a report."""

import gettext
import io
import re
from functools import cache
from importlib import resources

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from nbcad.language import LANGUAGES
from nbcad.language.sentences import LABELS, PARTS, SENTENCES, WORDS

_LONGEST = 2000  # characters; a header may hold so much that seeking sentences in it would take minutes


class Language:
    """One of `language.LANGUAGES`."""

    def __init__(self, code: str):
        self.code = code
        self.tag = {"zh": "zh-CN"}.get(code, code)  # as HTML wants it (BCP 47)
        self._catalogue = _catalogue(code)
        self.gettext, self.ngettext = self._catalogue.gettext, self._catalogue.ngettext

    def label(self, label: str) -> str:
        """The name of a stage or region; as it is where the catalogue has none, since labels are a file."""
        return self.gettext(label) if label in LABELS else label

    def stack(self, name: str) -> str:
        """What tells a stack from the others of its series."""
        return ", ".join(self._filled(PARTS, part) or part for part in name.split(", "))

    def sentence(self, text: str) -> str:
        """A sentence of the pipeline, or several joined by semicolons; what it did not write itself stays as it is."""
        return (self._known(text) if len(text) <= _LONGEST else "") or text

    def _known(self, text: str) -> str:
        """Empty if no sentence, nor a list of sentences, is known to read so."""
        filled = self._filled(SENTENCES, text)
        if filled:
            return filled
        for separator in re.finditer("; ", text):
            first = self._filled(SENTENCES, text[: separator.start()])
            if first:
                both = self.gettext("{first}; {second}")
                return both.format(first=first, second=self.sentence(text[separator.end() :]))
        return ""

    def _filled(self, sentences: tuple[str, ...], text: str) -> str:
        if self.code == LANGUAGES[0]:
            return text
        for sentence, pattern in _patterns(sentences):
            found = pattern.fullmatch(text)
            if found:
                values = {name: self._value(name, value) for name, value in found.groupdict().items()}
                return self.gettext(sentence).format(**values)
        return ""

    def _value(self, name: str, value: str) -> str:
        if name == "text":
            return self.sentence(value)
        if name not in ("found", "wanted", "value"):
            return value
        if value in WORDS:
            return self.gettext(value)
        words = "[a-z]{2,}"
        if all(word in WORDS for word in re.findall(words, value)):
            return re.sub(words, lambda word: self.gettext(word[0]), value)
        return value


@cache
def _catalogue(code: str) -> gettext.NullTranslations:
    if code == LANGUAGES[0]:
        return gettext.NullTranslations()
    # Compiled here, as the repository holds no binary and an editable installation has no step of its own for it.
    path = resources.files("nbcad.language") / "locale" / code / "LC_MESSAGES" / "nbcad.po"
    with path.open("rb") as file:
        catalogue = read_po(file, locale=code)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@cache
def _patterns(sentences: tuple[str, ...]) -> list[tuple[str, re.Pattern]]:
    """Each sentence and what it looks like when filled in; those with most words of their own first."""
    words = {sentence: re.split(r"\{(\w+)\}", sentence) for sentence in sentences}
    most_first = sorted(sentences, key=lambda sentence: -sum(map(len, words[sentence][::2])))
    return [(sentence, _pattern(words[sentence])) for sentence in most_first]


def _pattern(words: list[str]) -> re.Pattern:
    """Of words and, between them, names; only a {text} may hold several sentences."""
    pieces = [
        (f"(?P<{word}>.+)" if word == "text" else f"(?P<{word}>(?:(?!; ).)+?)") if odd else re.escape(word)
        for number, word in enumerate(words)
        for odd in [number % 2]
    ]
    return re.compile("".join(pieces), re.DOTALL)
