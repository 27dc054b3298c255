"""One HTML page of what was taken and what was not, with a picture of each: nothing outside of the file is needed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from core.files import write_text

_TEMPLATE = Path(__file__).parent / "templates"
_SHOWN = 2000  # cards of either kind with their pictures inside the page; the tables hold all


@dataclass(frozen=True)
class Card:
    """One file or clip on the page."""

    title: str
    accepted: bool
    reason: str  # why not, or what it is
    lines: list[str] = field(default_factory=list)
    picture: Path | None = None  # JPEG
    details: str = ""  # shown on hovering


def jpeg(picture: np.ndarray | None) -> bytes:
    """A small JPEG of uint8 RGB `(H,W,3)`; an empty grey one for None."""
    image = Image.new("RGB", (256, 128), (96, 96, 96)) if picture is None else Image.fromarray(picture)
    image.thumbnail((256, 128))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def write_report(path: Path, title: str, things: str, cards: Sequence[Card]) -> None:
    """Write the page: rejected ones first, they are what has to be looked at."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATE), autoescape=True, undefined=StrictUndefined)
    groups = []
    for name, accepted in (("rejected", False), ("accepted", True)):
        members = [card for card in cards if card.accepted == accepted]
        shown = [(card, _data(card.picture)) for card in members[:_SHOWN]]
        groups.append({"name": name, "count": len(members), "shown": shown})
    write_text(path, environment.get_template("report.html").render(title=title, things=things, groups=groups))


def _data(picture: Path | None) -> str:
    if picture is None or not picture.is_file():
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()
