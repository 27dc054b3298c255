"""The figures of the analysis: shares with intervals, who beat whom, and every prompt alone; as SVG and as PDF."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito (2008), told apart by colour-blind readers too; the proposed method takes the strongest.
PALETTE = ("#8a8f98", "#e69f00", "#56a4e9", "#cc79a7", "#d55e00", "#6a5acd", "#b8a000")
PROPOSED = "#00805c"
INK, MUTED, RULE = "#1c1e22", "#6e747c", "#e3e6ea"
#: Matplotlib's settings: text stays text, and the same numbers make the same bytes.
TEXT: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "panobench",
    "font.size": 9,
    "text.color": INK,
}
_COLUMNS = 3


def draw(result: Mapping[str, Any], folder: Path) -> list[str]:
    """Write every figure to ``folder`` as NAME.svg and NAME.pdf. Returns the names."""
    import matplotlib

    drawn = {"shares": _shares, "pairs": _pairs, "prompts": _prompts}
    with matplotlib.rc_context(TEXT):
        for name, make in drawn.items():
            figure = make(result)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once for both formats
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
            figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return list(drawn)


def colours(result: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each method."""
    others = [method["name"] for method in result["methods"] if method["name"] != result["plan"]["proposed"]]
    named = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(others)}
    return named | {result["plan"]["proposed"]: PROPOSED}


def _panels(result: Mapping[str, Any], width: float, height: float) -> "tuple[Figure, Iterator[tuple[str, Axes]]]":
    """A panel for each criterion, with its title."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    criteria = list(result["criteria"])
    columns = min(_COLUMNS, len(criteria))
    rows = -(-len(criteria) // columns)
    layout = ConstrainedLayoutEngine(wspace=0.04, hspace=0.06)
    figure = Figure(figsize=(width * columns, height * rows), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[len(criteria) :]:
        axis.set_visible(False)
    for name, axis in zip(criteria, axes, strict=False):
        axis.set_title(result["criteria"][name]["title"], loc="left", fontweight="bold", fontsize=10)
        axis.tick_params(length=0, labelsize=8)
        axis.spines[:].set_visible(False)
    return figure, zip(criteria, axes, strict=False)


def _shares(result: Mapping[str, Any]) -> "Figure":
    """Forest plot: shares in percent with their intervals; a diamond is the paper's number, of another design."""
    methods, colour = result["methods"], colours(result)
    figure, panels = _panels(result, 3.6, 0.9 + 0.32 * len(methods))
    for criterion, axis in panels:
        entry = result["criteria"][criterion]
        published = result["paper"]["percent"].get(criterion, {})
        for index, method in enumerate(methods):
            share, name = entry["shares"][method["name"]], method["name"]
            if share["low"] is not None:
                ends = [100 * share["low"], 100 * share["high"]]
                axis.plot(ends, [-index] * 2, color=colour[name], lw=3.2, solid_capstyle="round")
            if share["value"] is not None:
                axis.plot(100 * share["value"], -index, "o", color=colour[name], mec="white", ms=7)
            elif entry["limit"]:
                place = 100 * entry["limit"][name]
                axis.plot(place, -index, ">" if place else "<", color=colour[name], ms=7, clip_on=False)
            if name in published:
                axis.plot(published[name], -index - 0.3, "D", color="none", mec=MUTED, ms=4.5)
        if entry["status"] != "ok":
            axis.text(50, -(len(methods) - 1) / 2, entry["status"], ha="center", va="center", color=MUTED)
        axis.set_yticks([-i for i in range(len(methods))], [m["label"] for m in methods] if _first(axis) else [])
        axis.set_xlim(-2, 102)
        axis.set_ylim(-len(methods) + 0.4, 0.6)
        axis.grid(axis="x", color=RULE, lw=0.8)
        axis.set_axisbelow(True)
        axis.set_xlabel("share, percent", fontsize=8, color=MUTED)
    return figure


def _pairs(result: Mapping[str, Any]) -> "Figure":
    """Matrix of win rates, row against column, a tie being half, with the number of answers."""
    names = [method["name"] for method in result["methods"]]
    labels = [method["label"] for method in result["methods"]]
    side = 1.2 + 0.62 * len(names)
    figure, panels = _panels(result, side, side * 0.86)
    for criterion, axis in panels:
        table = np.full((len(names), len(names)), np.nan)
        number = np.zeros_like(table, dtype=int)
        for row in result["criteria"][criterion]["pairs"]:
            a, b, rate = names.index(row["a"]), names.index(row["b"]), row["rate"]["value"]
            number[a, b] = number[b, a] = row["wins"] + row["losses"] + row["ties"]
            if rate is not None:
                table[a, b], table[b, a] = rate, 1 - rate
        _heat(axis, table, _number(number))
        _label(axis, labels, labels)
    return figure


def _prompts(result: Mapping[str, Any]) -> "Figure":
    """Every prompt alone: how often each method won against all others on it, a tie being half."""
    names = [method["name"] for method in result["methods"]]
    prompts = list(result["prompts"])
    figure, panels = _panels(result, 1.4 + 0.55 * len(names), 1.1 + 0.27 * len(prompts))
    for criterion, axis in panels:
        rates = result["criteria"][criterion]["per_prompt"]
        table = np.array([[_rate(rates, prompt, name) for name in names] for prompt in prompts], dtype=float)
        _heat(axis, table, lambda _a, _b: "")
        _label(axis, prompts, [method["label"] for method in result["methods"]])
    return figure


def _number(number: np.ndarray) -> Callable[[int, int], str]:
    return lambda a, b: f"\n{number[a, b]}" if a != b else ""


def _rate(rates: Mapping[str, Any], prompt: str, name: str) -> float:
    rate = rates.get(prompt, {}).get(name, {}).get("rate")
    return np.nan if rate is None else rate


def _heat(axis: "Axes", table: np.ndarray, below: Callable[[int, int], str]) -> None:
    """Cells from orange (never) over white (half) to green (always), each with its percentage."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("rates", ["#e69f00", "#ffffff", PROPOSED])
    axis.pcolormesh(table[::-1], cmap=shades, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
    for row, column in zip(*np.nonzero(np.isfinite(table)), strict=True):
        value = table[row, column]
        ink = "white" if value > 0.82 else INK
        at = (column + 0.5, len(table) - row - 0.5)
        axis.text(*at, f"{100 * value:.0f}{below(row, column)}", ha="center", va="center", fontsize=7.5, color=ink)


def _label(axis: "Axes", rows: list[str], columns: list[str]) -> None:
    axis.set_yticks([len(rows) - i - 0.5 for i in range(len(rows))], rows if _first(axis) else [])
    axis.set_xticks([i + 0.5 for i in range(len(columns))], columns, rotation=28, ha="right", rotation_mode="anchor")


def _first(axis: "Axes") -> bool:
    spec = axis.get_subplotspec()
    return spec is None or spec.is_first_col()
