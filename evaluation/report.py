"""The comparison report: one HTML page that needs nothing else, and the tables and pictures behind it.

Files written
    ``index.html``: the page; pictures and small videos are inside, large videos are linked relatively.
    ``comparison.json``, ``scores.parquet``, ``results.md``: numbers for programs and for a README.
    ``table.tex``, ``methods.txt``: the summary table and the methods section for a paper.
    ``per_video.csv``: a row per video, a column per metric, for DVC's plots.
    ``contact_sheet.png``, ``seams.png``, ``metrics.png``, ``sheets/METHOD.png``: pictures of the same.
    ``moving.webp``: all videos side by side, moving.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import atomic_path, write_json, write_text
from evaluation import pictures
from evaluation.comparison import Scored, compare, prompts_of, results_markdown
from evaluation.manifest import Item
from evaluation.page import Making, Shown, page_context
from evaluation.page_tables import places_of
from evaluation.paper import latex_table, methods_section
from evaluation.plots import metrics_picture
from evaluation.provenance import git_state, versions

_TEMPLATES = Path(__file__).parent / "templates"


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
    write_text(out / "table.tex", latex_table(comparison, places_of(comparison)))
    write_text(
        out / "methods.txt", "\n\n".join(methods_section(comparison, methods[0].settings, comparison["made"])) + "\n"
    )
    write_text(out / "per_video.csv", per_video_table(methods).to_csv(index=False, lineterminator="\n"))
    context = page_context(methods, comparison, Shown(prompts, shown, shots), making, out)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(out / "index.html", environment.get_template("report.html").render(context))
    return comparison


def per_video_table(methods: Sequence[Scored]) -> pd.DataFrame:
    """A row per video of every method (``video``: METHOD/ID), a column per metric."""
    scores = pd.concat([m.scores for m in methods], ignore_index=True)
    scores["video"] = scores["method"] + "/" + scores["video_id"]
    wide = scores.pivot(index=["video", "method", "prompt_id", "seed"], columns="metric", values="value")
    return wide[list(dict.fromkeys(scores["metric"]))].reset_index().rename_axis(columns=None)


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
    with atomic_path(out / "moving.webp") as temporary:
        pictures.save_moving(temporary, shots, columns, prompts)
    for name, label in columns:
        lines = {key: pictures.strip(value, 256) for key, value in shots.items() if key[0] == name}
        _save(pictures.grid(lines, [(name, label)], prompts), out / "sheets" / f"{name}.png")


def _save(image: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)
