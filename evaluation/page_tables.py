"""The tables of the report's page as its template takes them: numbers as texts, rounded, with what marks them.

Follow from ``comparison.json`` and ``agreement.json`` alone.
"""

from collections.abc import Mapping
from typing import Any

from evaluation.agreement import number, percent
from evaluation.comparison import ARROWS, decimals
from evaluation.findings import CRITERIA, clear
from evaluation.plots import interval_svg


def places_of(comparison: Mapping[str, Any]) -> dict[str, int]:
    """Decimals of each headline metric."""
    return {name: decimals(comparison["metrics"][name]["methods"].values()) for name in comparison["headline"].values()}


def summary_table(comparison: Mapping[str, Any]) -> dict[str, Any]:
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


def criterion_tables(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Per criterion: its metrics, each with a cell per method and its intervals as SVG."""
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


def differences_table(comparison: Mapping[str, Any], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row per metric and pair of methods that share prompts; ``labels``: method -> what the page calls it."""
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


def agreement_table(agreement: Mapping[str, Any]) -> list[dict[str, Any]]:
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
