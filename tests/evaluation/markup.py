"""Pages as the tests read them."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Every address in a page, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [(tag, value) for key, value in attrs if key in ("src", "href", "poster", "srcset") and value]

    def handle_data(self, data):
        self.text += data
