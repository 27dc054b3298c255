"""What the report's page shows, as the template takes it."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from evaluation import pictures
from evaluation.agreement import number, percent
from evaluation.comparison import ARROWS, Scored, decimals
from evaluation.findings import CRITERIA, beats, clear, findings, sentence
from evaluation.manifest import Item
from evaluation.paper import caption, latex_table, methods_section
from evaluation.plots import colour, interval_svg, prompt_svg

_EMBED_LIMIT = 24_000_000  # bytes of MP4 that go into the page; more is linked


@dataclass(frozen=True)
class Making:
    """How this report came about: what is printed at its head."""

    command: str
    params: Path | None = None  # the parameter file in force, shown in full
    prompts_shown: int = 24  # prompts with pictures; the numbers are always over all
    headline: Mapping[str, str] = field(default_factory=dict)  # criterion -> metric of the summary table
    agreement: Mapping[str, Any] | None = None  # as agreement.json, if people have voted


@dataclass(frozen=True)
class Shown:
    """The videos on the page.

    Attributes:
        prompts: id and text, in order.
        items: (method, prompt id) -> video.
        shots: its pictures, by the same key.
    """

    prompts: Sequence[tuple[str, str]]
    items: Mapping[tuple[str, str], Item]
    shots: Mapping[tuple[str, str], pictures.Shots]


def page_context(
    methods: Sequence[Scored],
    comparison: Mapping[str, Any],
    shown: Shown,
    making: Making,
    out: Path,
) -> dict[str, Any]:
    """Everything that ``templates/report.html`` reads."""
    embed = sum(item.path.stat().st_size for item in shown.items.values()) <= _EMBED_LIMIT
    labels = {m.name: m.label for m in methods}
    cells = {key: _cell(shown, key, embed, out) for key in shown.items}
    params = making.params.read_text(encoding="utf-8") if making.params and making.params.is_file() else None
    settings = methods[0].settings
    return {
        "made": comparison["made"],
        "methods": [_method(m, index, out) for index, m in enumerate(methods)],
        "summary": _summary(comparison),
        "caption": caption(comparison),
        "latex": latex_table(comparison, places_of(comparison)),
        "sentences": [sentence(entry) for entry in beats(comparison)],
        "criteria": _criteria(comparison),
        "findings": findings(comparison),
        "differences": _differences(comparison, labels),
        "level": comparison["bootstrap"]["level"],
        "prompt_count": len(comparison["prompts"]),
        "by_prompt": _by_prompt(methods, comparison, shown.prompts),
        "prompts": [
            {"id": key, "text": text, "cells": [cells.get((m.name, key)) for m in methods]}
            for key, text in shown.prompts
        ],
        "extremes": _extremes(methods, comparison, shown, cells),
        "with_videos": bool(shown.shots),
        "embedded": embed,
        "settings": settings,
        "paragraphs": methods_section(comparison, settings, comparison["made"]),
        "agreement": _agreement(making.agreement) if making.agreement else None,
        "params": params,
        "params_link": _link(making.params, out) if making.params else None,
        "file_list": [
            "comparison.json", "scores.parquet", "per_video.csv", "results.md", "table.tex", "methods.txt",
            "metrics.png", *(("contact_sheet.png", "moving.webp", "seams.png") if shown.shots else ()),
        ],
    }  # fmt: skip


def _cell(shown: Shown, key: tuple[str, str], embed: bool, out: Path) -> dict[str, str]:
    item, shots = shown.items[key], shown.shots[key]
    up, down = (_picture_uri(Image.fromarray(view)) for view in shots.poles)
    return {
        "video": _data_uri(item.path.read_bytes(), "video/mp4") if embed else _link(item.path, out),
        "poster": _picture_uri(Image.fromarray(shots.frames[1])),
        "strip": _picture_uri(pictures.strip(shots, 256)),
        "seam": _picture_uri(Image.fromarray(shots.seam), exact=True),
        "up": up,
        "down": down,
    }


def places_of(comparison: Mapping[str, Any]) -> dict[str, int]:
    """Decimals of each headline metric."""
    return {name: decimals(comparison["metrics"][name]["methods"].values()) for name in comparison["headline"].values()}


def _summary(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The table in the shape of the paper's: a row per method, a column per criterion of the study."""
    places = places_of(comparison)
    columns = []
    for criterion, title in CRITERIA.items():
        name = comparison["headline"].get(criterion)
        metric = comparison["metrics"][name] if name else None
        unit = metric["unit"] if metric and metric["unit"] != "1" else ""
        columns.append(
            {
                "title": title,
                "metric": name,
                "unit": unit,
                "arrow": ARROWS[metric["direction"]] if metric else "",
                "cells": [_summary_cell(metric, m["name"], places[name]) if metric and name else None
                          for m in comparison["methods"]],
            }
        )  # fmt: skip
    return {"columns": columns, "rows": comparison["methods"]}


def _summary_cell(metric: Mapping[str, Any], method: str, places: int) -> dict[str, Any] | None:
    cell = _value(metric, method, places)
    if cell is None:
        return None
    rank = first = ""
    if place := metric["ranks"].get(method):
        low, high = f"{place['low']:g}", f"{place['high']:g}"
        rank = f"rank {low}" if low == high else f"rank {low} to {high}"
        first = f"first in {place['first']:.0%} of the resamples"
    return {**cell, "rank": rank, "first": first}


def _by_prompt(
    methods: Sequence[Scored], comparison: Mapping[str, Any], prompts: Sequence[tuple[str, str]]
) -> list[dict[str, str]]:
    """A panel per headline metric: its values on the prompts that are shown."""
    names = [m.name for m in methods]
    panels = []
    for criterion, metric in comparison["headline"].items():
        values = {m.name: _prompt_means(m, metric) for m in methods}
        if any(values.values()) and prompts:
            panels.append(
                {
                    "title": CRITERIA[criterion],
                    "metric": metric,
                    "arrow": ARROWS[comparison["metrics"][metric]["direction"]],
                    "svg": prompt_svg(values, prompts, names),
                }
            )
    return panels


def _prompt_means(method: Scored, metric: str) -> dict[str, float]:
    rows = method.scores[(method.scores["metric"] == metric) & np.isfinite(method.scores["value"])]
    return {str(key): float(value) for key, value in rows.groupby("prompt_id")["value"].mean().items()}


def _extremes(
    methods: Sequence[Scored],
    comparison: Mapping[str, Any],
    shown: Shown,
    cells: Mapping[tuple[str, str], Mapping[str, str]],
) -> list[dict[str, Any]]:
    """For each headline metric with a direction: the best and the worst of the videos on the page."""
    texts, found = dict(shown.prompts), []
    for criterion, name in comparison["headline"].items():
        metric = comparison["metrics"][name]
        if metric["direction"] == "none":
            continue
        values = []
        for place, method in enumerate(methods):
            rows = method.scores[method.scores["metric"] == name].set_index("video_id")["value"]
            for (owner, prompt), item in shown.items.items():
                if owner == method.name and item.video_id in rows.index:
                    values.append((float(rows[item.video_id]), place, prompt))
        if len(values) < 2:
            continue
        values.sort(reverse=metric["direction"] == "higher")
        ends = []
        for what, (value, place, prompt) in (("best", values[0]), ("worst", values[-1])):
            ends.append(
                {
                    "what": what,
                    "value": f"{value:.{decimals(metric['methods'].values())}f}",
                    "label": methods[place].label,
                    "colour": colour(place),
                    "prompt": texts[prompt],
                    **cells[methods[place].name, prompt],
                }
            )
        found.append({"title": CRITERIA[criterion], "metric": name, "ends": ends})
    return found


def _agreement(agreement: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per criterion: the metrics, best first, and the best of them on votes that did not choose it."""
    shown = []
    for criterion, entry in agreement["criteria"].items():
        row: dict[str, Any] = {"title": CRITERIA[criterion], "too_few": entry.get("too_few", "")}
        row |= {key: entry[key] for key in ("votes", "raters", "prompts")}
        if "too_few" in entry:
            shown.append(row)
            continue
        ranked = sorted(entry["metrics"].items(), key=lambda item: -item[1]["accuracy"]["value"])
        weights = entry["combination"]["weights"]
        shown.append(
            row
            | {
                "people": percent(entry["people"]),
                "metrics": [(name, percent(m["accuracy"]), number(m["tau"])) for name, m in ranked[:6]],
                "more": len(ranked) - 6,
                "best": (entry["best"]["metric"], percent(entry["best"]["held_out"])),
                "combination": ", ".join(f"{weight:.2f} {name}" for name, weight in weights.items() if weight >= 0.05)
                or "of no weight",
                "combined": percent(entry["combination"]["held_out"]),
            }
        )
    return shown


def _method(method: Scored, index: int, out: Path) -> dict[str, Any]:
    links = {"scores": method.folder / "scores.parquet", "means": method.folder / "metrics.json"}
    links["settings"] = method.folder / "settings.json"
    if method.manifest:
        links["manifest"] = method.manifest
    recipes = sorted(
        {
            str(item.declared.provenance["recipe_sha256"])
            for item in method.videos.values()
            if item.declared and "recipe_sha256" in item.declared.provenance
        }
    )
    return {
        "name": method.name,
        "label": method.label,
        "colour": colour(index),
        "videos": int(method.scores["video_id"].nunique()),
        "prompts": int(method.scores["prompt_id"].nunique()),
        "scores_sha256": method.scores_sha256,
        "recipes": recipes,
        "links": [(text, _link(path, out)) for text, path in links.items()],
    }


def _criteria(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = [m["name"] for m in comparison["methods"]]
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, metric in comparison["metrics"].items():
        places = decimals(metric["methods"].values())
        groups.setdefault(metric["criterion"], []).append(
            {
                "name": name,
                "unit": "" if metric["unit"] == "1" else metric["unit"],
                "arrow": ARROWS[metric["direction"]],
                "direction": metric["direction"],
                "summary": metric["summary"],
                "version": metric["version"],
                "cells": [_value(metric, method, places) for method in names],
                "svg": interval_svg(metric, names),
            }
        )
    return [{"title": CRITERIA.get(key, key), "metrics": metrics} for key, metrics in groups.items()]


def _value(metric: Mapping[str, Any], method: str, places: int) -> dict[str, Any] | None:
    """A mean with its interval, and how it stands."""
    entry = metric["methods"].get(method)
    if entry is None:
        return None
    return {
        "mean": f"{entry['mean']:.{places}f}",
        "interval": _interval(entry, places),
        "n": entry["n"],
        "best": metric["best"] == method,
        "tied": bool(metric["tied"]) and method in (metric["leader"], *metric["tied"]),
    }


def _interval(entry: Mapping[str, Any], places: int) -> str:
    if entry["low"] is None:
        return "one prompt"
    return f"{entry['low']:.{places}f} … {entry['high']:.{places}f}"


def _differences(comparison: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for name, metric in comparison["metrics"].items():
        for difference in metric["differences"]:
            if difference["mean"] is None:
                continue
            places = decimals([difference])
            certain = clear(difference)
            rows.append(
                {
                    "metric": name,
                    "pair": f"{labels[difference['a']]} − {labels[difference['b']]}",
                    "mean": f"{difference['mean']:+.{places}f}",
                    "interval": _interval(difference, places),
                    "n": difference["n"],
                    "p": _p(difference["p"]),
                    "p_holm": _p(difference["p_holm"]),
                    "clear": certain,
                }
            )
    return rows


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value >= 1e-4 else "< .0001"


def _link(path: Path, out: Path) -> str:
    return quote(os.path.relpath(path.resolve(), out.resolve()))


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _picture_uri(image: Image.Image, exact: bool = False) -> str:
    """PNG where every pixel counts or there are few, JPEG where there are many."""
    buffer = io.BytesIO()
    if exact or image.width * image.height < 40_000:
        image.save(buffer, format="PNG", optimize=True)
        return _data_uri(buffer.getvalue(), "image/png")
    image.save(buffer, format="JPEG", quality=88)
    return _data_uri(buffer.getvalue(), "image/jpeg")
