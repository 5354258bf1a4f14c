"""An HTML page as a browser takes it apart."""

from html.parser import HTMLParser

HOSTILE = "</script><!--<script>alert('x')</script>\"><img src=//x onerror=a>"
_VOID = {"img", "input", "link", "meta"}


class Page(HTMLParser):
    """What a browser makes of the page: its elements, its text, its style and its scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.style = ""
        self.scripts: dict[str, str] = {}  # by id; the one that runs has none
        self.words: list[str] = []
        self.feed(text)
        assert self.open == [], "an element was left open"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.style += data
        elif self.open[-1:] == ["script"]:
            name = self.elements[-1][1].get("id", "")
            self.scripts[name] = self.scripts.get(name, "") + data
        else:
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
