"""The gettext catalogues, by which a page's texts and messages are put into the reader's language."""

import gettext
import io
from functools import cache
from importlib import resources

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from nbcad.language import LANGUAGES
from nbcad.language.message import Message
from nbcad.language.terms import term


class Language:
    """One of `language.LANGUAGES`."""

    def __init__(self, code: str):
        self.code = code
        self.tag = {"zh": "zh-CN"}.get(code, code)  # as HTML wants it (BCP 47)
        self._catalogue = _catalogue(code)
        self.gettext, self.ngettext = self._catalogue.gettext, self._catalogue.ngettext

    def render(self, message: Message) -> str:
        """Return the text of a message."""
        return message.render(self._catalogue)

    def label(self, label: str) -> str:
        """Return the name of a stage or region; a label that the table of terms lacks stays as it is."""
        return self.render(term(label))


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
