"""Numbers as the tables print them."""

from collections.abc import Mapping
from typing import Any


def percent(entry: Mapping[str, Any], method: str) -> str:
    """The share of a method: 51.6; →100 or →0 where it is only a limit; – where there is none."""
    value = entry["shares"][method]["value"]
    if value is not None:
        return f"{100 * value:.1f}"
    return f"→{100 * entry['limit'][method]:.0f}" if entry["limit"] else "–"


def spread(value: Mapping[str, float | None], factor: float = 100, places: int = 1) -> str:
    """An interval, 45.1–58.0; empty where there is none."""
    if value["low"] is None or value["high"] is None:
        return ""
    return f"{factor * value['low']:.{places}f}–{factor * value['high']:.{places}f}"


def p_value(p: float | None) -> str:
    """0.031, <0.001, or – where no test could be made."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int, what: str) -> str:
    """1 rater, 2 raters."""
    return f"{number} {what}{'' if number == 1 else 's'}"
