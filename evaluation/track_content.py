"""What of a reproduction is logged, read from its files: a run per trained model, per method, and for the study."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import PanobenchError
from core.files import read_json, sha256

_VIDEO_LIMIT = 64_000_000  # bytes of MP4 per method; more stays where it is, with its hashes in the manifest


@dataclass
class Run:
    """One run to log: a model's training, a method's scores or the study."""

    name: str
    stage: str  # as in dvc.yaml: train@NAME, score@NAME or study_analysis
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, step, ms after the start
    artifacts: list[tuple[Path, str]] = field(default_factory=list)  # file, folder in the run
    table: pd.DataFrame | None = None
    seconds: float = 0.0


def training_runs(outputs: Path, models: Sequence[str]) -> list[Run]:
    """A run per trained model: its settings, loss curves and validation videos. A model without a folder has none.

    Raises:
        PanobenchError: a file of a training is missing or broken.
    """
    runs = []
    for name in models:
        folder = outputs / "models" / name
        if not folder.is_dir():
            continue  # scored without training here
        run = Run(f"train {name}", f"train@{name}")
        run.params = flat(read_json(folder / "training.json"))
        run.artifacts = [(folder / "training.json", ""), (folder / "history.csv", "")]
        for row in _history(folder / "history.csv"):
            step, seconds = int(row.pop("step")), row.pop("seconds", 0.0)
            run.metrics += [(key, value, step, int(seconds * 1000)) for key, value in row.items()]
            run.seconds = seconds
        curve = folder / "loss_by_timestep.csv"
        if curve.is_file():  # a model of another trainer does not keep it
            run.metrics += _loss_by_timestep(curve)
            run.artifacts.append((curve, ""))
        videos = sorted((folder / "validation").rglob("*.mp4"))
        run.artifacts += [(file, file.parent.relative_to(folder).as_posix()) for file in videos]
        runs.append(run)
    return runs


def _history(path: Path) -> Iterator[dict[str, float]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror}); train again") from error
    except (TypeError, ValueError) as error:
        raise PanobenchError(f"{path}: not a table of numbers ({error}); train again") from error
    if rows and "step" not in rows[0]:
        raise PanobenchError(f"{path}: has no column 'step'; train again")
    yield from rows


def _loss_by_timestep(path: Path) -> list[tuple[str, float, int, int]]:
    """A curve per part of the noise schedule."""
    found = []
    for row in _history(path):
        if not {"first_timestep", "last_timestep", "loss"} <= set(row):
            raise PanobenchError(f"{path}: needs the columns step, first_timestep, last_timestep, loss; train again")
        name = f"loss_by_timestep/{int(row['first_timestep']):03d}-{int(row['last_timestep']):03d}"
        found.append((name, row["loss"], int(row["step"]), 0))
    return found


def method_runs(outputs: Path, comparison: Mapping[str, Any]) -> list[Run]:
    """A run per compared method: recipe, means with intervals, what people said of it, a table of its videos."""
    runs = []
    for method in comparison["methods"]:
        name = method["name"]
        scores, videos = outputs / "scores" / name, outputs / "videos" / name
        run = Run(method["label"], f"score@{name}")
        recipe = outputs / "recipes" / f"{name}.json"
        run.params = flat(read_json(recipe)) if recipe.is_file() else {}
        run.params |= {"method": name, "videos": str(method["videos"])}
        run.tags = {"scores_sha256": method["scores_sha256"]}
        for metric, entry in comparison["metrics"].items():
            values = entry["methods"].get(name)
            if values:
                run.metrics.append((metric_name(metric), values["mean"], 0, 0))
                ends = [(f"interval/{metric}_{end}", values[end]) for end in ("low", "high")]
                run.metrics += [(metric_name(key), value, 0, 0) for key, value in ends if value is not None]
        run.metrics += _human_metrics(outputs, name)
        run.table = per_video(pd.read_parquet(scores / "scores.parquet"))
        run.artifacts = [(scores / "scores.parquet", ""), (scores / "metrics.json", ""), (scores / "settings.json", "")]
        files = [recipe, outputs / "report" / "sheets" / f"{name}.png", videos / "manifest.jsonl"]
        run.artifacts += [(file, "") for file in files if file.is_file()]
        movies = sorted(videos.glob("*.mp4")) if videos.is_dir() else []
        if sum(movie.stat().st_size for movie in movies) <= _VIDEO_LIMIT:
            run.artifacts += [(movie, "videos") for movie in movies]
        runs.append(run)
    return runs


def _study(outputs: Path) -> dict[str, Any] | None:
    """What `panobench study analyse` found, or None while there are no votes."""
    file = outputs / "study_analysis" / "analysis.json"
    result = read_json(file) if file.is_file() else {}
    return result if result.get("status") == "ok" else None


def _human_metrics(outputs: Path, method: str) -> list[tuple[str, float, int, int]]:
    """The share of a method for each criterion of the study, with its interval, beside the method's metrics."""
    study = _study(outputs)
    found = []
    for criterion, entry in study["criteria"].items() if study else ():
        share = entry["shares"].get(method, {})
        names = {"value": f"human/{criterion}", "low": f"interval/human_{criterion}_low"}
        names["high"] = f"interval/human_{criterion}_high"
        found += [(metric_name(names[key]), share[key], 0, 0) for key in names if share.get(key) is not None]
    return found


def study_runs(outputs: Path) -> list[Run]:
    """The analysis of the votes as a run of its own: who voted, the tests' p-values, the report."""
    study = _study(outputs)
    if study is None:
        return []
    run = Run("user study", "study_analysis", params=flat({"study": study["study"], "plan": study["plan"]}))
    for test in study["tests"]["primary"]:
        if test["p_holm"] is not None:
            run.metrics.append((metric_name(f"p_holm/{test['criterion']}/{test['b']}"), test["p_holm"], 0, 0))
    for criterion, entry in study["criteria"].items():
        if entry["agreement"]["alpha"] is not None:
            run.metrics.append((metric_name(f"alpha/{criterion}"), entry["agreement"]["alpha"], 0, 0))
    run.artifacts = [(file, "") for file in sorted((outputs / "study_analysis").iterdir()) if file.is_file()]
    return [run]


def per_video(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per video, a column per metric, in the order of the long table."""
    wide = scores.pivot(index=["video_id", "prompt_id", "seed"], columns="metric", values="value")
    return wide[list(dict.fromkeys(scores["metric"]))].reset_index().rename_axis(columns=None)


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """A tree of settings as MLflow's parameters: ``{"a": {"b": 1}}`` becomes ``{"a.b": "1"}``."""
    if isinstance(tree, Mapping):
        found: dict[str, str] = {}
        for key, value in tree.items():
            found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
        return found
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return {metric_name(prefix): text[:6000]}


def metric_name(name: str) -> str:
    """``name`` as MLflow takes names: other characters (``@``, ``[``, ...) become ``_``, and so do odd paths' parts."""
    clean = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
    return "/".join(part if part.strip(".") else "_" for part in clean.split("/"))


def fingerprint(comparison: Mapping[str, Any], params_file: Path, runs: Sequence[Run]) -> str:
    """Hash of everything that is logged, but not of when and by which command the report was made."""
    lasting = {key: value for key, value in comparison.items() if key != "made"}
    # The sheets are drawn from the videos, and their compression depends on a library's version: left out.
    files = [(r.stage, file.name, sha256(file)) for r in runs for file, _ in r.artifacts if file.suffix != ".png"]
    record = {"comparison": lasting, "params": sha256(params_file), "files": files}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
