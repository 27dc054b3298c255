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
from evaluation.comparison import ARROWS, Scored, decimals
from evaluation.findings import CRITERIA, beats, findings, sentence
from evaluation.manifest import Item
from evaluation.page_tables import agreement_table, criterion_tables, differences_table, places_of, summary_table
from evaluation.paper import caption, latex_table, methods_section
from evaluation.plots import colour, prompt_svg

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
        "summary": summary_table(comparison),
        "caption": caption(comparison),
        "latex": latex_table(comparison, places_of(comparison)),
        "sentences": [sentence(entry) for entry in beats(comparison)],
        "criteria": criterion_tables(comparison),
        "findings": findings(comparison),
        "differences": differences_table(comparison, labels),
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
        "agreement": agreement_table(making.agreement) if making.agreement else None,
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
