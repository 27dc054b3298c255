"""The comparison report: one HTML page that needs nothing else, and the tables and pictures behind it.

Files written
    ``index.html``: the page; pictures and small videos are inside, large videos are linked relatively.
    ``comparison.json``, ``scores.parquet``, ``results.md``: numbers for programs and for a README.
    ``contact_sheet.png``, ``seams.png``, ``metrics.png``, ``sheets/METHOD.png``: pictures of the same.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import atomic_path, write_json, write_text
from evaluation import pictures
from evaluation.comparison import ARROWS, Scored, compare, decimals, prompts_of, results_markdown
from evaluation.findings import CRITERIA, findings
from evaluation.manifest import Item
from evaluation.plots import colour, interval_svg, metrics_picture
from evaluation.provenance import git_state, versions

_TEMPLATES = Path(__file__).parent / "templates"
_EMBED_LIMIT = 24_000_000  # bytes of MP4 that go into the page; more is linked


@dataclass(frozen=True)
class Making:
    """How this report came about: what is printed at its head."""

    command: str
    params: Path | None = None  # the parameter file in force, shown in full
    prompts_shown: int = 24  # prompts with pictures; the numbers are always over all
    headline: Mapping[str, str] = field(default_factory=dict)  # criterion -> metric of the summary table


def build_report(methods: Sequence[Scored], out: str | Path, making: Making) -> dict[str, Any]:
    """Compare methods and write everything (module docstring) to ``out``.

    Returns:
        What ``comparison.json`` holds.

    Raises:
        PanobenchError: no methods, methods that do not compare, a video that cannot be read, a full disk.
    """
    if not methods:
        raise PanobenchError("nothing to compare: give score folders, as `panobench score` writes them")
    out = Path(out)
    bootstrap = methods[0].settings["bootstrap"]
    comparison = compare(methods, bootstrap["resamples"], bootstrap["seed"], bootstrap["level"], making.headline)
    comparison["made"] = _made(making)
    prompts = list(prompts_of(methods).items())[: making.prompts_shown]
    shown = {
        (m.name, item.prompt_id): item
        for m in methods
        for item in _one_per_prompt(m)
        if item.prompt_id in dict(prompts)
    }
    bar = tqdm(shown.items(), desc="pictures", unit="video", dynamic_ncols=True)
    shots = {key: pictures.read_shots(item.path) for key, item in bar}

    write_json(out / "comparison.json", comparison)
    write_text(out / "results.md", results_markdown(comparison))
    with atomic_path(out / "scores.parquet") as path:
        pd.concat([m.scores for m in methods], ignore_index=True).to_parquet(path, index=False)
    metrics_picture(out / "metrics.png", comparison)
    if shots:
        _write_sheets(out, methods, prompts, shots)
    context = _context(methods, comparison, prompts, shown, shots, making, out)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(out / "index.html", environment.get_template("report.html").render(context))
    return comparison


def _made(making: Making) -> dict[str, Any]:
    commit, dirty = git_state()
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": making.command,
        "commit": commit,
        "dirty": dirty,
        "versions": versions(),
    }


def _one_per_prompt(method: Scored) -> list[Item]:
    """The video of each prompt's lowest seed, of those that were scored."""
    scored = set(method.scores["video_id"])
    first: dict[str, Item] = {}
    for item in method.videos.values():
        if item.video_id in scored and (item.prompt_id not in first or item.seed < first[item.prompt_id].seed):
            first[item.prompt_id] = item
    return list(first.values())


def _write_sheets(
    out: Path,
    methods: Sequence[Scored],
    prompts: Sequence[tuple[str, str]],
    shots: Mapping[tuple[str, str], pictures.Shots],
) -> None:
    columns = [(m.name, m.label) for m in methods if m.videos]
    contact = {key: pictures.contact_cell(value) for key, value in shots.items()}
    note = "Each: middle frame, below it the first and the last. Equirectangular: left and right edge meet behind you."
    _save(pictures.grid(contact, columns, prompts, note), out / "contact_sheet.png")
    seams = {key: pictures.seam_cell(value) for key, value in shots.items()}
    note = "Middle frame turned by 180 degrees, cropped around the seam (between the marks), pixels enlarged."
    _save(pictures.grid(seams, columns, prompts, note), out / "seams.png")
    for name, label in columns:
        lines = {key: pictures.strip(value, 256) for key, value in shots.items() if key[0] == name}
        _save(pictures.grid(lines, [(name, label)], prompts), out / "sheets" / f"{name}.png")


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


# --- the page --------------------------------------------------------------------------------------------------------


def _context(
    methods: Sequence[Scored],
    comparison: Mapping[str, Any],
    prompts: Sequence[tuple[str, str]],
    shown: Mapping[tuple[str, str], Item],
    shots: Mapping[tuple[str, str], pictures.Shots],
    making: Making,
    out: Path,
) -> dict[str, Any]:
    embed = sum(item.path.stat().st_size for item in shown.values()) <= _EMBED_LIMIT
    labels = {m.name: m.label for m in methods}
    cells = {
        key: {
            "video": _data_uri(item.path.read_bytes(), "video/mp4") if embed else _link(item.path, out),
            "strip": _picture_uri(pictures.strip(shots[key], 256)),
            "seam": _picture_uri(Image.fromarray(shots[key].seam), exact=True),
        }
        for key, item in shown.items()
    }
    params = making.params.read_text(encoding="utf-8") if making.params and making.params.is_file() else None
    return {
        "made": comparison["made"],
        "methods": [_method(m, index, out) for index, m in enumerate(methods)],
        "criteria": _criteria(comparison),
        "findings": findings(comparison),
        "differences": _differences(comparison, labels),
        "level": comparison["bootstrap"]["level"],
        "resamples": comparison["bootstrap"]["resamples"],
        "prompt_count": len(comparison["prompts"]),
        "prompts": [
            {"id": key, "text": text, "cells": [cells.get((m.name, key)) for m in methods]} for key, text in prompts
        ],
        "with_videos": bool(shots),
        "embedded": embed,
        "settings": methods[0].settings,
        "params": params,
        "params_link": _link(making.params, out) if making.params else None,
        "file_list": ["comparison.json", "scores.parquet", "results.md", "metrics.png"]
        + (["contact_sheet.png", "seams.png"] if shots else []),
    }


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
        cells = []
        for method in names:
            entry = metric["methods"].get(method)
            cells.append(
                entry
                and {
                    "mean": f"{entry['mean']:.{places}f}",
                    "interval": _interval(entry, places),
                    "n": entry["n"],
                    "best": metric["best"] == method,
                    "tied": bool(metric["tied"]) and method in (metric["leader"], *metric["tied"]),
                }
            )
        groups.setdefault(metric["criterion"], []).append(
            {
                "name": name,
                "unit": "" if metric["unit"] == "1" else metric["unit"],
                "arrow": ARROWS[metric["direction"]],
                "direction": metric["direction"],
                "summary": metric["summary"],
                "version": metric["version"],
                "cells": cells,
                "svg": interval_svg(metric, names),
            }
        )
    return [{"title": CRITERIA.get(key, key), "metrics": metrics} for key, metrics in groups.items()]


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
            clear = difference["low"] is not None and (difference["low"] > 0 or difference["high"] < 0)
            rows.append(
                {
                    "metric": name,
                    "pair": f"{labels[difference['a']]} − {labels[difference['b']]}",
                    "mean": f"{difference['mean']:+.{places}f}",
                    "interval": _interval(difference, places),
                    "n": difference["n"],
                    "clear": clear,
                }
            )
    return rows


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
