"""The power simulation as a table, a figure and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.files import atomic_path, write_json
from study_app.analysis.figures import MUTED, PALETTE, PROPOSED, RULE, TEXT

SCHEMA = "panobench.study-power/1"
_HEAD = ("raters", "prompts", "trials each", "power", "all tests", "share, 95 % interval")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lines for a terminal; after ± the Monte Carlo standard error."""
    cells = [
        (
            str(row["raters"]),
            str(row["prompts"]),
            str(row["trials"]),
            f"{row['power']:.3f} ± {row['power_error']:.3f}",
            f"{row['all']:.3f} ± {row['all_error']:.3f}",
            f"± {100 * row['half_width']:.1f} points",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (_HEAD, *cells)
    )


def write_power(out: str | Path, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write power.json, power.svg and power.pdf to the folder ``out``."""
    import matplotlib

    out = Path(out)
    write_json(out / "power.json", {"schema": SCHEMA, "settings": dict(settings), "designs": list(rows)})
    with matplotlib.rc_context(TEXT):
        figure = _figure(rows, settings["target"])
        with atomic_path(out / "power.svg") as path:
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        with atomic_path(out / "power.pdf") as path:
            figure.savefig(path, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def _figure(rows: Sequence[Mapping[str, Any]], target: float) -> Any:
    """Power over raters, a line for each number of prompts, with two Monte Carlo standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axis = figure.subplots()
    for index, prompts in enumerate(sorted({row["prompts"] for row in rows})):
        chosen = sorted((row for row in rows if row["prompts"] == prompts), key=lambda row: row["raters"])
        axis.errorbar(
            [row["raters"] for row in chosen],
            [row["power"] for row in chosen],
            [2 * row["power_error"] for row in chosen],
            color=(PROPOSED, *PALETTE)[index % (len(PALETTE) + 1)],
            marker="o",
            capsize=3,
            label=f"{prompts} prompts",
        )
    axis.axhline(target, color=MUTED, lw=1, ls="--")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("raters")
    axis.set_ylabel("power, closest comparison")
    axis.grid(color=RULE, lw=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    return figure
