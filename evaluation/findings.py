"""What a comparison allows to be said: who leads, who cannot be told apart, and which sentences stand.

Nothing here is said of means alone. Two strengths of evidence are kept apart: the *paired* difference is clear of zero
(its interval, and a sign-flip test: pairing takes the difficulty of the prompts out), and besides the two methods' own
intervals do not overlap (stricter, and visible to everyone in the table).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import PanobenchError, did_you_mean

#: The five questions of the study, in its order, with the title that tables show.
CRITERIA = {
    "graphics_quality": "Graphics quality",
    "frame_consistency": "Frame consistency",
    "end_continuity": "End continuity",
    "content_distribution": "Content distribution",
    "motion_pattern": "Motion pattern",
}


#: Sign-flip p-value up to which a difference counts, before any correction.
SIGNIFICANT = 0.05


def headlines(metrics: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, str]) -> dict[str, str]:
    """Criterion -> the one metric that stands for it in the summary table.

    Args:
        metrics: as in ``comparison.json``: name -> criterion, direction, ...
        wanted: criterion -> metric, as params.yaml (report.headline) says it before anything is measured. For another
            criterion, or if that metric was not measured, it is the first in the order of the tables that has a
            direction, or the first.

    Raises:
        PanobenchError: an unknown criterion, or a metric that stands for another.
    """
    chosen = {}
    for criterion, name in wanted.items():
        if criterion not in CRITERIA:
            hint = did_you_mean(criterion, list(CRITERIA)) or f"; known: {', '.join(CRITERIA)}"
            raise PanobenchError(f"report.headline: unknown criterion '{criterion}'{hint}")
        if name in metrics and metrics[name]["criterion"] != criterion:
            raise PanobenchError(
                f"report.headline.{criterion}: '{name}' stands for {metrics[name]['criterion']}; choose one that fits"
            )
    for criterion in CRITERIA:
        mine = [name for name, metric in metrics.items() if metric["criterion"] == criterion]
        directed = [name for name in mine if metrics[name]["direction"] != "none"]
        if wanted.get(criterion) in mine:
            chosen[criterion] = wanted[criterion]
        elif mine:
            chosen[criterion] = (directed or mine)[0]
    return chosen


def disjoint(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two means' own intervals do not overlap."""
    if a["low"] is None or b["low"] is None:
        return False
    return a["low"] > b["high"] or b["low"] > a["high"]


def beats(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """On which criteria (by their headline metric) each method is better than each other, as far as it is certain.

    Returns:
        ``winner`` and ``loser`` (labels), ``apart``: titles of criteria where their intervals do not overlap and the
        paired difference excludes zero, ``paired``: where only the latter, ``holm``: whether all of them stand after
        Holm's correction over the pairs of methods. Pairs without either are left out.
    """
    labels = {m["name"]: m["label"] for m in comparison["methods"]}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for criterion, name in comparison["headline"].items():
        metric = comparison["metrics"][name]
        if metric["direction"] == "none":
            continue
        for row in metric["differences"]:
            if not clear(row):
                continue
            a_wins = (row["mean"] > 0) == (metric["direction"] == "higher")
            pair = (row["a"], row["b"]) if a_wins else (row["b"], row["a"])
            entry = found.setdefault(
                pair, {"winner": labels[pair[0]], "loser": labels[pair[1]], "apart": [], "paired": [], "holm": True}
            )
            kind = "apart" if disjoint(metric["methods"][row["a"]], metric["methods"][row["b"]]) else "paired"
            entry[kind].append(CRITERIA[criterion].lower())
            if row["p_holm"] is not None:  # distances of whole sets have no test
                entry["holm"] = entry["holm"] and row["p_holm"] < 1 - comparison["bootstrap"]["level"]
    order = [m["name"] for m in comparison["methods"]]
    ranked = sorted(found.items(), key=lambda item: (-order.index(item[0][0]), order.index(item[0][1])))
    return [entry for _, entry in ranked]


def sentence(entry: Mapping[str, Any]) -> str:
    """A finding of ``beats`` in words."""
    parts = []
    if entry["apart"]:
        parts.append(f"on {listed(entry['apart'])} with intervals that do not overlap")
    if entry["paired"]:
        only = " by the paired difference, while the intervals overlap" if entry["paired"] else ""
        parts.append(f"on {listed(entry['paired'])}{only}")
    correction = "" if entry["holm"] else " (not all of it after Holm's correction for the pairs of methods)"
    return f"{entry['winner']} beats {entry['loser']} {'; '.join(parts)}{correction}."


def standing(means: Mapping[str, float], differences: Sequence[Mapping[str, Any]], direction: str) -> dict[str, Any]:
    """What may be said about the best.

    Returns:
        ``leader``: the method with the best mean (None if neither direction is better, or there is one method).
        ``best``: the leader, if the interval of its paired difference to *every* other method excludes zero; else None.
        ``tied``: the other methods that cannot be told from the leader, if some can and some cannot; else empty.
    """
    if direction == "none" or len(means) < 2:
        return {"leader": None, "best": None, "tied": []}
    pick = max if direction == "higher" else min
    leader = pick(means, key=lambda method: means[method])
    unclear = [other for other in means if other != leader and not _separated(leader, other, differences)]
    some = 0 < len(unclear) < len(means) - 1
    return {"leader": leader, "best": None if unclear else leader, "tied": unclear if some else []}


def _separated(a: str, b: str, differences: Sequence[Mapping[str, Any]]) -> bool:
    for row in differences:
        if {row["a"], row["b"]} == {a, b}:
            return clear(row)
    return False


def clear(row: Mapping[str, Any]) -> bool:
    """Whether a paired difference is certain: its interval excludes zero, and the sign-flip test does not contradict.

    The bootstrap never leaves the range of the values, so it is too sure of a handful of prompts that happen to agree;
    the test knows that four coins fall alike in one of eight throws.
    """
    excluded = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    return bool(excluded and (row.get("p") is None or row["p"] <= SIGNIFICANT))


def findings(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the intervals allow to be said, by criterion: who leads on which metrics, and who cannot be told from it."""
    labels = {m["name"]: m["label"] for m in comparison["methods"]}
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    for name, metric in comparison["metrics"].items():
        if not metric["leader"]:
            continue
        clear = metric["best"] or metric["tied"]
        key = (labels[metric["leader"]] if clear else "", listed([labels[method] for method in metric["tied"]]))
        found.setdefault(metric["criterion"], {}).setdefault(key, []).append(name)
    return [
        {
            "criterion": CRITERIA.get(criterion, criterion),
            "outcomes": [
                {"leader": leader, "tied": tied, "metrics": metrics}
                for (leader, tied), metrics in sorted(outcomes.items(), key=lambda o: (not o[0][0], bool(o[0][1])))
            ],
        }
        for criterion, outcomes in found.items()
    ]


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
