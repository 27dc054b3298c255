"""Interval plots: small ones as SVG inside the page, and one picture of all of them."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from core.files import atomic_path
from evaluation.comparison import ARROWS
from evaluation.findings import CRITERIA

#: Colours of methods, in order (Okabe & Ito 2008: told apart by colour-blind readers too, on light and on dark).
PALETTE = ("#8a8f98", "#e69f00", "#56a4e9", "#00a878", "#cc79a7", "#d55e00", "#6a5acd", "#b8a000")


def colour(index: int) -> str:
    """Colour of the method at this place."""
    return PALETTE[index % len(PALETTE)]


def _span(metric: Mapping[str, Any]) -> tuple[float, float]:
    ends = [v for entry in metric["methods"].values() for v in (entry["mean"], entry["low"], entry["high"])]
    values = [v for v in ends if v is not None]
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def interval_svg(metric: Mapping[str, Any], methods: Sequence[str], width: int = 190, row: int = 13) -> str:
    """Means and intervals of one metric, a line per method in the order of the table; scales are per metric."""
    low, high = _span(metric)
    height = row * len(methods) + 4

    def x(value: float) -> float:
        return round(4 + (value - low) / (high - low) * (width - 8), 1)

    parts = [
        f'<svg class="intervals" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="means and intervals">'
    ]
    for index, name in enumerate(methods):
        y = 2 + row * (index + 0.5)
        parts.append(f'<line class="rule" x1="4" x2="{width - 4}" y1="{y}" y2="{y}"/>')
        entry = metric["methods"].get(name)
        if entry is None:
            continue
        if entry["low"] is not None:
            ends = f'x1="{x(entry["low"])}" x2="{x(entry["high"])}" y1="{y}" y2="{y}"'
            parts.append(f'<line {ends} stroke="{colour(index)}" stroke-width="3.5" stroke-linecap="round"/>')
        parts.append(f'<circle class="mean" cx="{x(entry["mean"])}" cy="{y}" r="4" fill="{colour(index)}"/>')
    return "".join(parts) + "</svg>"


def prompt_svg(
    values: Mapping[str, Mapping[str, float]],  # method -> prompt id -> value
    prompts: Sequence[tuple[str, str]],  # id, text: the rows
    methods: Sequence[str],
    width: int = 340,
    row: int = 18,
) -> str:
    """One metric on every prompt: a row per prompt, a dot per method."""
    known = [value for by_prompt in values.values() for value in by_prompt.values()]
    low, high = min(known), max(known)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    text, height = 128, row * len(prompts) + 16
    parts = [f'<svg class="prompts" viewBox="0 0 {width} {height}" role="img" aria-label="values by prompt">']

    def x(value: float) -> float:
        return round(text + 6 + (value - low) / (high - low) * (width - text - 14), 1)

    for index, (key, title) in enumerate(prompts):
        y = row * (index + 0.5)
        short = title if len(title) <= 22 else title[:21].rstrip() + "…"
        parts.append(f'<text x="{text - 4}" y="{y + 4}"><title>{escape(title)}</title>{escape(short)}</text>')
        parts.append(f'<line class="rule" x1="{text + 2}" x2="{width - 4}" y1="{y}" y2="{y}"/>')
        for place, method in enumerate(methods):
            if key in values.get(method, {}):
                value = values[method][key]
                dot = f'<circle cx="{x(value)}" cy="{y}" r="4.2" fill="{colour(place)}">'
                parts.append(f"{dot}<title>{value:.4g}</title></circle>")
    y = row * len(prompts) + 12
    parts.append(f'<text class="end" x="{text + 6}" y="{y}">{low + margin:.3g}</text>')
    parts.append(f'<text x="{width - 8}" y="{y}">{high - margin:.3g}</text>')
    return "".join(parts) + "</svg>"


def metrics_picture(path: str | Path, comparison: Mapping[str, Any]) -> None:
    """All metrics as one PNG, a panel each, by criterion."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    metrics = list(comparison["metrics"].items())
    methods = comparison["methods"]
    columns = min(4, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(
        figsize=(3.3 * columns, (0.95 + 0.27 * len(methods)) * rows + 0.3),
        dpi=150,
        layout=ConstrainedLayoutEngine(wspace=0.06, hspace=0.06),
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, metric) in zip(axes, metrics, strict=False):
        for index, method in enumerate(methods):
            entry = metric["methods"].get(method["name"])
            if entry is None:
                continue
            y = -index
            if entry["low"] is not None:
                axis.plot([entry["low"], entry["high"]], [y, y], color=colour(index), lw=3, solid_capstyle="round")
            axis.plot(entry["mean"], y, "o", color=colour(index), mec="white", ms=7)
        first = axis.get_subplotspec().is_first_col()
        axis.set_yticks([-i for i in range(len(methods))], [m["label"] for m in methods] if first else [])
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.set_ylim(-len(methods) + 0.4, 0.6)
        unit = "" if metric["unit"] == "1" else f", {metric['unit']}"
        axis.set_title(f"{name} {ARROWS[metric['direction']]}", fontsize=10, loc="left", fontweight="bold")
        axis.set_xlabel(f"{CRITERIA.get(metric['criterion'], metric['criterion'])}{unit}", fontsize=8, color="#6e747c")
        axis.tick_params(labelsize=8, length=0)
        axis.grid(axis="x", color="#e3e6ea", lw=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    with atomic_path(path) as temporary:
        # No time or version inside: the same numbers make the same file.
        figure.savefig(temporary, format="png", metadata={"Software": None})
