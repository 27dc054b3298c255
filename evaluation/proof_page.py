"""The page about the metrics: definitions, what each claims, whether it keeps it, and curves.

Files written
    ``metrics.md``: the page.
    ``metrics/NAME.svg``: mean under each corruption by strength.
    ``metrics/proof.json``: the numbers (schema 1).
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.files import read_json, write_json, write_text
from evaluation.corruptions import TITLES, UNITS
from evaluation.features import cost_of
from evaluation.findings import CRITERIA
from evaluation.metrics.claims import CORRUPTIONS, Claims
from evaluation.proof import CLIPS_MOVED, LEVEL_SHARE, STEP_SLACK, failed

SCHEMA = 1
_TEMPLATES = Path(__file__).parent / "templates"
_BETTER = {"higher": "higher is better", "lower": "lower is better", "none": "neither is better"}


def known_proof(out: str | Path, run: Mapping[str, Any], versions: Mapping[str, int]) -> dict[str, Any]:
    """What an earlier run wrote there under the same conditions, of metrics that are still of the same version."""
    path = Path(out) / "metrics" / "proof.json"
    if not path.is_file():
        return {}
    written = read_json(path)
    if written.get("schema") != SCHEMA or written["run"] != run:
        return {}
    return {name: e for name, e in written["metrics"].items() if versions.get(name) == e["version"]}


def write_page(
    out: str | Path,
    proof: Mapping[str, Any],  # from proof.record
    metrics: Mapping[str, Any],  # name -> class, in the order of the tables
    run: Mapping[str, Any],  # clips {count, what, width, height, frames}, strengths, yaws, rotations, seed, command
) -> None:
    """Write everything (module docstring) to ``out``."""
    out = Path(out)
    write_json(out / "metrics" / "proof.json", {"schema": SCHEMA, "run": run, "metrics": proof})
    for name, metric in metrics.items():
        if "means" in proof[name]:
            write_text(out / "metrics" / f"{name}.svg", curves_svg(proof[name], getattr(metric, "claims", None)))
    rows = [_row(name, metric, proof[name]) for name, metric in metrics.items()]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("metrics.md.j2").render(
        metrics=rows,
        criteria=[
            {"title": title, "metrics": mine}
            for key, title in CRITERIA.items()
            if (mine := [row for row in rows if row["key"] == key])
        ],
        corruptions=[{"title": TITLES[name], "unit": UNITS[name]} for name in CORRUPTIONS],
        slack=STEP_SLACK,
        moved=CLIPS_MOVED,
        share=LEVEL_SHARE,
        **run,
    )
    write_text(out / "metrics.md", page.rstrip() + "\n")


def _row(name: str, metric: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    claims: Claims | None = getattr(metric, "claims", None)
    return {
        "name": name,
        "key": metric.criterion,
        "unit": metric.unit,
        "direction": metric.direction,
        "better": _BETTER[metric.direction],
        "criterion": metric.criterion.replace("_", " "),
        "needs": ", ".join(sorted(metric.needs)) or "frames",
        "cost": cost_of(metric.needs),
        "version": metric.version,
        "verdict": "passed" if entry["passed"] else "not run" if "skipped" in entry else "**failed**",
        "doc": inspect.cleandoc(metric.__doc__ or ""),
        "seen": seen(claims),
        "skipped": entry.get("skipped"),
        "failures": failed(entry.get("checks", ())),
        "cells": _cells(entry, claims) if "means" in entry else [],
        "between": _number(entry.get("between_clips")),
        "yaw": _number(entry.get("yaw_spread")) + (f" ({claims.yaw})" if claims else ""),
        "rotation": _number(entry.get("rotation_spread")),
    }


def seen(claims: Claims | None) -> str:
    """The claims in a sentence."""
    if claims is None:
        return "It claims nothing."
    parts = []
    for verb, names in (("rises with", claims.rises), ("falls with", claims.falls), ("ignores", claims.level)):
        if names:
            parts.append(f"{verb} {', '.join(TITLES[name] for name in CORRUPTIONS if name in names)}")
    floor = ""
    if claims.floor:
        value = f"{claims.floor.low:g}"
        if claims.floor.high != claims.floor.low:
            value += f" to {claims.floor.high:g}"
        floor = f" On {claims.floor.of} clips it reads {value}."
    return f"It {'; '.join(parts)}.{floor}"


def _cells(entry: Mapping[str, Any], claims: Claims | None) -> list[str]:
    """A cell per corruption: change in per cent of the metric's scale, and its claim."""
    wrong = {check["of"] for check in entry["checks"] if not check["passed"] and check["kind"] in _CURVES}
    clean, cells = entry["means"]["clean"], []
    for name in CORRUPTIONS:
        curve = entry["means"].get(name)
        if curve is None:
            cells.append("")
            continue
        change = curve[max(curve, key=float)] - clean
        text = f"{100 * change / entry['scale']:+.0f}" if entry["scale"] else f"{change:+.3g}"
        text = "0" if text in ("+0", "-0") else text
        if claims and name in claims.rises | claims.falls:
            text = f"**{text}**"
        elif claims and name in claims.level:
            text = f"{text} ○"
        cells.append(f"{text} ✗" if name in wrong else text)
    return cells


_CURVES = ("rises", "falls", "level")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


# --- curves ----------------------------------------------------------------------------------------------------------

# Readable on white and on black: the page may be shown on either.
_CLAIMED, _LEVEL, _OTHER, _FAILED, _TEXT, _RULE = "#1f9d73", "#5b8def", "#9aa2ac", "#d9534f", "#808892", "#80889255"
_WIDTH, _HEIGHT, _GAP, _COLUMNS = 150, 62, 14, 5


def curves_svg(entry: Mapping[str, Any], claims: Claims | None) -> str:
    """Small multiples of one metric, a panel per corruption on one scale: mean over the clips against strength."""
    curves = {name: entry["means"][name] for name in CORRUPTIONS if name in entry["means"]}
    clean = entry["means"]["clean"]
    everything = [clean, *(value for curve in curves.values() for value in curve.values())]
    low, high = min(everything), max(everything)
    rows = -(-len(curves) // _COLUMNS)
    width, height = _COLUMNS * (_WIDTH + _GAP) + 40, rows * (_HEIGHT + 34) + 6
    wrong = {check["of"] for check in entry["checks"] if not check["passed"] and check["kind"] in _CURVES}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11">'
    ]
    for index, (name, curve) in enumerate(curves.items()):
        row, column = divmod(index, _COLUMNS)
        colour, wide = _OTHER, 1.5
        if claims and name in claims.rises | claims.falls:
            colour, wide = _CLAIMED, 2.5
        elif claims and name in claims.level:
            colour, wide = _LEVEL, 2
        points = [(0.0, clean), *((float(strength), value) for strength, value in curve.items())]
        left, top = 40 + column * (_WIDTH + _GAP), 20 + row * (_HEIGHT + 34)
        parts.append(_panel(points, (low, high), (left, top), _FAILED if name in wrong else colour, wide, TITLES[name]))
        if column == 0:
            for y, value in ((top + 8, high), (top + _HEIGHT, low)):
                parts.append(f'<text x="{left - 5}" y="{y}" fill="{_TEXT}" text-anchor="end">{value:.3g}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(
    points: Sequence[tuple[float, float]],
    span: tuple[float, float],
    corner: tuple[int, int],
    colour: str,
    wide: float,
    title: str,
) -> str:
    low, high = span
    left, top = corner

    def place(strength: float, value: float) -> tuple[float, float]:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(left + strength * _WIDTH, 1), round(top + _HEIGHT - share * _HEIGHT, 1)

    placed = [place(*point) for point in points]
    line = " ".join(f"{x},{y}" for x, y in placed)
    base = placed[0][1]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.4" fill="{colour}"/>' for x, y in placed)
    return (
        f'<text x="{left}" y="{top - 6}" fill="{_TEXT}">{title}</text>'
        f'<line x1="{left}" x2="{left + _WIDTH}" y1="{base}" y2="{base}" stroke="{_RULE}"/>'
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{wide}" stroke-linejoin="round"/>{dots}'
    )
