"""Several scored methods side by side: means, intervals, paired differences, and what they allow to be said.

Reads score folders (``scores.parquet``, ``metrics.json``, ``settings.json``), whoever made the videos, and refuses to
put numbers beside each other that were not measured the same way.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import PanobenchError
from core.files import read_json, sha256
from core.significance import holm, sign_flip_means
from evaluation.findings import CRITERIA, headlines, standing
from evaluation.manifest import MANIFEST_NAME, Item, read_videos
from evaluation.set_difference import difference_row
from evaluation.standings import ranks
from evaluation.statistics import bootstrap_mean, paired_values

SCHEMA = 1

ARROWS = {"higher": "↑", "lower": "↓", "none": "·"}


@dataclass(frozen=True)
class Scored:
    """One method as scored.

    Attributes:
        name: the method's name, unique in a comparison.
        label: what people read.
        folder: where the scores are.
        scores: long table, one row per video and metric.
        summary: metric -> mean, low, high, n, prompts, unit, direction, criterion, version; and floor, if it is one of
            the whole set.
        refused: metric of the whole set -> why there is no number.
        settings: what produced the numbers.
        scores_sha256: of ``scores.parquet``.
        videos: the videos behind the scores, by id; empty if they are not at hand.
        videos_folder: where they are.
    """

    name: str
    label: str
    folder: Path
    scores: pd.DataFrame
    summary: Mapping[str, Mapping[str, Any]]
    refused: Mapping[str, str]
    settings: Mapping[str, Any]
    scores_sha256: str
    videos: Mapping[str, Item]
    videos_folder: Path | None

    @property
    def manifest(self) -> Path | None:
        """The manifest of the videos, if they have one."""
        path = self.videos_folder / MANIFEST_NAME if self.videos_folder else None
        return path if path and path.is_file() else None


def load_scored(folder: str | Path, label: str | None = None, videos: str | Path | None = None) -> Scored:
    """Read one score folder, and the manifest or folder of the videos that were scored, if given.

    Raises:
        PanobenchError: a file is missing, broken or of another schema, or a scored video is not among the videos.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: no such folder; `panobench score VIDEOS --out {folder}` makes it")
    table = folder / "scores.parquet"
    digest = sha256(table)
    try:
        scores = pd.read_parquet(table)
    except (OSError, ValueError) as error:
        raise PanobenchError(f"{table}: not a readable table ({error}); score again") from error
    summary = read_json(folder / "metrics.json")
    if not isinstance(summary, dict) or summary.get("schema") != SCHEMA:
        raise PanobenchError(f"{folder / 'metrics.json'}: not of schema {SCHEMA}; score again with this version")
    name = str(summary["method"])
    found: dict[str, Item] = {}
    if videos is not None:
        found = {item.video_id: item for item in read_videos(videos, method=name).items}
        missing = sorted(set(scores["video_id"]) - set(found))
        if missing:
            raise PanobenchError(f"{videos}: the scored video '{missing[0]}' of {name} is not there; score again")
    return Scored(
        name=name,
        label=label or name,
        folder=folder,
        scores=scores,
        summary=summary["metrics"],
        refused=summary.get("refused", {}),
        settings=read_json(folder / "settings.json"),
        scores_sha256=digest,
        videos=found,
        videos_folder=Path(videos) if videos is not None else None,
    )


def check_comparable(methods: Sequence[Scored]) -> None:
    """Refuse what must not stand in one table.

    Raises:
        PanobenchError: naming both methods and the setting that differs.
    """
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            folders = ", ".join(str(m.folder) for m in methods if m.name == name)
            raise PanobenchError(f"two score folders are of the method '{name}' ({folders}); score one with --method")
    first = methods[0]
    for other in methods[1:]:
        for what, a, b in _settings_to_agree(first.settings, other.settings):
            if a != b:
                raise PanobenchError(
                    f"{first.name} and {other.name} do not compare: {what} is {a} for one and {b} for the other; "
                    "score both the same way"
                )


def _settings_to_agree(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    pairs = [(f"the videos' {key}", a["videos"][key], b["videos"][key]) for key in ("frames", "fps", "height", "width")]
    pairs += [("the view set", a["views"], b["views"]), ("the judge", a["judge"], b["judge"])]
    pairs += [("the networks' precision", *(settings.get("precision", "fp32") for settings in (a, b)))]
    pairs += [("the bootstrap", a["bootstrap"], b["bootstrap"])]
    for name in sorted(set(a["metrics"]) & set(b["metrics"])):
        pairs += [
            (f"{name}'s {key}", a["metrics"][name][key], b["metrics"][name][key]) for key in ("version", "parameters")
        ]
    return [(what, x, y) for what, x, y in pairs if x is not None and y is not None]


def declared_generator(method: Scored) -> dict[str, str]:
    """Settings of generation as the manifest's rows declare them, key -> value or values; empty without any.

    Hashes of code are left out: they identify, and say nothing to a reader.
    """
    found: dict[str, set[str]] = {}
    for item in method.videos.values():
        generator = item.declared.provenance.get("generator") if item.declared else None
        for key, value in (generator if isinstance(generator, dict) else {}).items():
            if value not in (None, "") and not key.endswith("sha256"):
                found.setdefault(key, set()).add(str(value))
    return {key: " or ".join(sorted(values)) for key, values in found.items()}


def compare(
    methods: Sequence[Scored],
    resamples: int,
    seed: int,
    level: float,
    headline: Mapping[str, str] | None = None,  # criterion -> the metric that stands for it in the summary
) -> dict[str, Any]:
    """The comparison as data (``comparison.json`` without the record of its making).

    Returns:
        ``methods`` (name, label, videos, scores_sha256), ``prompts`` (id, prompt), ``bootstrap``, and ``metrics``:
        name -> unit, direction, criterion, version, summary, ``methods`` (name -> mean, low, high, n, prompts),
        ``differences`` of every pair (a - b over common prompts, with ``p`` and ``p_holm``, corrected for the pairs of
        this metric), ``ranks``, ``leader``, ``best`` and ``tied`` (``standing``), and ``floor``, real against real, of
        metrics of the whole set; ``refused``: metric -> why there is no number; ``headline``: criterion -> metric.
    """
    check_comparable(methods)
    metrics: dict[str, Any] = {}
    for name in _ordered_metrics(methods):
        having = [method for method in methods if name in method.summary]
        entry = having[0].summary[name]
        described = having[0].settings["metrics"].get(name, {})
        differences = [
            _difference(a, b, name, resamples, seed, level)
            for index, a in enumerate(having)
            for b in having[index + 1 :]
        ]
        _correct(differences)
        means = {m.name: {k: m.summary[name][k] for k in ("mean", "low", "high", "n", "prompts")} for m in having}
        metrics[name] = {
            "unit": entry["unit"],
            "direction": entry["direction"],
            "criterion": entry["criterion"],
            "version": entry["version"],
            "summary": described.get("summary", ""),
            "methods": means,
            "floor": entry.get("floor"),
            "differences": differences,
            "ranks": _ranks(having, name, entry["direction"], resamples, level, seed),
            **standing({m: v["mean"] for m, v in means.items()}, differences, entry["direction"]),
        }
    return {
        "schema": SCHEMA,
        "methods": [
            {
                "name": m.name,
                "label": m.label,
                "videos": int(m.scores["video_id"].nunique()),
                "scores_sha256": m.scores_sha256,
                "generator": declared_generator(m),
                "resample": m.settings.get("resample"),
            }
            for m in methods
        ],
        "prompts": [{"id": key, "prompt": text} for key, text in prompts_of(methods).items()],
        "bootstrap": {"resamples": resamples, "seed": seed, "level": level},
        "headline": headlines(metrics, headline or {}),
        "metrics": metrics,
        "refused": {name: reason for method in methods for name, reason in method.refused.items()},
    }


def _ordered_metrics(methods: Sequence[Scored]) -> list[str]:
    """Metrics by criterion, in the study's order, and within it in the order of the tables."""
    criterion: dict[str, str] = {}
    for method in methods:
        for name, entry in method.summary.items():
            criterion.setdefault(name, entry["criterion"])
    known = list(CRITERIA)
    return sorted(criterion, key=lambda name: known.index(criterion[name]) if criterion[name] in known else len(known))


def _difference(a: Scored, b: Scored, metric: str, resamples: int, seed: int, level: float) -> dict[str, Any]:
    """Paired difference a - b; without an interval, and with n = 0, if they share no prompt."""
    if a.summary[metric].get("of") == "set":
        pair = [(m.name, m.folder, m.summary[metric], set(m.scores["prompt_id"].astype(str))) for m in (a, b)]
        return difference_row(pair[0], pair[1], metric, level)
    shared = set(_prompts_with(a, metric)) & set(_prompts_with(b, metric))
    if not shared:
        return {"a": a.name, "b": b.name, "mean": None, "low": None, "high": None, "n": 0, "prompts": 0, "p": None}
    pairs = paired_values(a.scores, b.scores, metric)
    values, prompts = pairs["difference"].to_numpy(), pairs["prompt_id"].to_numpy()
    found = bootstrap_mean(values, prompts, resamples=resamples, level=level, seed=seed)
    p = sign_flip_means(values, prompts, seed) if found.prompts > 1 else None
    return {"a": a.name, "b": b.name, **asdict(found), "p": p}


def _correct(differences: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm``: corrected for the number of pairs of methods that are compared on this metric."""
    tested = [row for row in differences if row["p"] is not None]
    for row in differences:
        row["p_holm"] = None
    for row, corrected in zip(tested, holm([row["p"] for row in tested]).tolist(), strict=True):
        row["p_holm"] = corrected


def _ranks(
    methods: Sequence[Scored], metric: str, direction: str, resamples: int, level: float, seed: int
) -> dict[str, dict[str, float]]:
    if direction == "none":
        return {}
    rows = {m.name: m.scores[(m.scores["metric"] == metric) & m.scores["value"].map(math.isfinite)] for m in methods}
    values = {name: table.groupby("prompt_id")["value"].mean() for name, table in rows.items() if len(table)}
    found = ranks(values, direction == "higher", resamples, level, seed)
    return {name: asdict(place) for name, place in found.items()}


def _prompts_with(method: Scored, metric: str) -> list[str]:
    rows = method.scores[(method.scores["metric"] == metric) & method.scores["value"].map(math.isfinite)]
    return [str(prompt) for prompt in rows["prompt_id"].unique()]


def prompts_of(methods: Sequence[Scored]) -> dict[str, str]:
    """Prompt id -> text of every scored prompt, sorted by id; the id stands in where the text is not known."""
    texts: dict[str, str] = {}
    for method in methods:
        for prompt in method.scores["prompt_id"].unique():
            texts.setdefault(str(prompt), "")
        texts |= {key: text for key, text in method.settings.get("prompts", {}).items() if key in texts}
        for item in method.videos.values():
            if item.prompt:
                texts[item.prompt_id] = item.prompt
    return {key: texts[key] or key for key in sorted(texts)}


# --- numbers for people ----------------------------------------------------------------------------------------------


def decimals(entries: Iterable[Mapping[str, Any]]) -> int:
    """Decimals for a row of means and intervals: three digits of the largest, two of the narrowest interval."""
    rows = list(entries)
    values = [abs(row[key]) for row in rows for key in ("mean", "low", "high") if row[key]]
    widths = [row["high"] - row["low"] for row in rows if row["low"] is not None and row["high"] > row["low"]]
    places = 2 - math.floor(math.log10(max(values))) if values else 2
    if widths:
        places = max(places, 1 - math.floor(math.log10(min(widths))))
    return min(max(places, 0), 4 if values and max(values) > 0.01 else 6)


def results_markdown(comparison: Mapping[str, Any]) -> str:
    """The results as a Markdown table, metrics by criterion, methods side by side; for a README."""
    methods = comparison["methods"]
    lines = [
        "| metric | " + " | ".join(m["label"] for m in methods) + " |",
        "|---|" + "---:|" * len(methods),
    ]
    criterion = None
    for name, metric in comparison["metrics"].items():
        if metric["criterion"] != criterion:
            criterion = metric["criterion"]
            lines.append(f"| **{CRITERIA.get(criterion, criterion)}** |" + " |" * len(methods))
        places = decimals(metric["methods"].values())
        cells = [_markdown_cell(metric, m["name"], places) for m in methods]
        unit = "" if metric["unit"] == "1" else f" ({metric['unit']})"
        lines.append(f"| {name}{unit} {ARROWS[metric['direction']]} | " + " | ".join(cells) + " |")
    count, level = len(comparison["prompts"]), comparison["bootstrap"]["level"]
    lines += [
        "",
        f"Mean over {count} prompts and its {level:.0%} bootstrap interval. ↑ higher is better, ↓ lower is better, "
        "· neither. **Bold**: better than every other method, as the interval of the paired difference excludes zero "
        "and a sign-flip test agrees (each at its own level, not corrected for the number of comparisons).",
    ]
    return "\n".join(lines) + "\n"


def _markdown_cell(metric: Mapping[str, Any], method: str, places: int) -> str:
    entry = metric["methods"].get(method)
    if entry is None:
        return "–"
    mean = f"{entry['mean']:.{places}f}"
    if metric["best"] == method:
        mean = f"**{mean}**"
    if entry["low"] is None:
        return mean
    return f"{mean} [{entry['low']:.{places}f}, {entry['high']:.{places}f}]"
