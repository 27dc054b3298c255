"""MLflow from files: one parent run per reproduction, a child per trained model, a child per method.

The files are the truth and MLflow is a view of them, so nothing is logged while a stage runs: a stage restored from
DVC's cache would leave no run. A hash of the logged content is a tag of the parent run; what is there already is not
logged again, and a run that was cut off is replaced. Pictures, tables, small videos and hashes are logged, weights are
not.
"""

import csv
import fcntl
import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pandas as pd
import yaml
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import read_json, sha256
from evaluation.provenance import git_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMA = 1
CONTENT_TAG = "panobench.content"
_VIDEO_LIMIT = 64_000_000  # bytes of MP4 per method; more stays where it is, with its hashes in the manifest
_BATCH = 1000  # metrics per request: MLflow's limit


@dataclass
class _Run:
    """One run to log: a model's training or a method's scores."""

    name: str
    stage: str  # as in dvc.yaml: train@NAME or score@NAME
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, step, ms after the start
    artifacts: list[tuple[Path, str]] = field(default_factory=list)  # file, folder in the run
    table: pd.DataFrame | None = None
    seconds: float = 0.0


def track(
    root: Path, outputs: Path, params_file: Path, rebuild: bool = False, uri: str | None = None
) -> dict[str, Any]:
    """Log everything under ``outputs`` unless it is logged already.

    Args:
        root: DVC's root; the database and the artifacts live there unless ``uri`` says otherwise.
        outputs: ``outputs/PROFILE``, with ``report/comparison.json``, ``scores/``, and what there is of ``models/``,
            ``recipes/`` and ``videos/``.
        params_file: logged with the parent run.
        rebuild: delete the runs of the same content first.
        uri: tracking URI of a server.

    Returns:
        ``schema``, ``experiment``, ``tracking`` (without credentials), ``content``, ``parent`` and ``runs``: the run
        ids, whether new or found.

    Raises:
        PanobenchError: a file is missing or broken, or MLflow refuses or cannot be reached.
    """
    comparison = read_json(outputs / "report" / "comparison.json")
    params = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    runs = [
        *_training_runs(outputs, params["run"]["models"]),
        *_method_runs(outputs, comparison),
        *_study_runs(outputs),
    ]
    content = _fingerprint(comparison, params_file, runs)
    experiment = f"panobench-{params['profile']}"
    with _store(root, uri) as client:
        place = _experiment(client, experiment, root if uri is None else None)
        found = _find(client, place, content)
        for parent in found:
            if rebuild or parent.info.status != "FINISHED":
                _delete(client, place, parent.info.run_id)
        kept = [run for run in found if run.info.status == "FINISHED" and not rebuild]
        parent_id = (
            kept[0].info.run_id if kept else _log(client, place, content, comparison, params_file, root, outputs, runs)
        )
        children = client.search_runs([place], f"tags.`mlflow.parentRunId` = '{parent_id}'")
        return {
            "schema": SCHEMA,
            "experiment": experiment,
            "tracking": _without_credentials(uri) if uri else "sqlite:///mlflow.db",
            "content": content,
            "new": not kept,
            "parent": parent_id,
            "runs": dict(sorted((str(run.info.run_name), run.info.run_id) for run in children)),
        }


# --- what is logged --------------------------------------------------------------------------------------------------


def _training_runs(outputs: Path, models: Sequence[str]) -> list[_Run]:
    runs = []
    for name in models:
        folder = outputs / "models" / name
        if not folder.is_dir():
            continue  # scored without training here
        run = _Run(f"train {name}", f"train@{name}")
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


def _method_runs(outputs: Path, comparison: Mapping[str, Any]) -> list[_Run]:
    runs = []
    for method in comparison["methods"]:
        name = method["name"]
        scores, videos = outputs / "scores" / name, outputs / "videos" / name
        run = _Run(method["label"], f"score@{name}")
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


def _study_runs(outputs: Path) -> list[_Run]:
    """The analysis of the votes as a run of its own: who voted, the tests' p-values, the report."""
    study = _study(outputs)
    if study is None:
        return []
    run = _Run("user study", "study_analysis", params=flat({"study": study["study"], "plan": study["plan"]}))
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


def _fingerprint(comparison: Mapping[str, Any], params_file: Path, runs: Sequence[_Run]) -> str:
    """Hash of everything that is logged, but not of when and by which command the report was made."""
    lasting = {key: value for key, value in comparison.items() if key != "made"}
    # The sheets are drawn from the videos, and their compression depends on a library's version: left out.
    files = [(r.stage, file.name, sha256(file)) for r in runs for file, _ in r.artifacts if file.suffix != ".png"]
    record = {"comparison": lasting, "params": sha256(params_file), "files": files}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


# --- MLflow ----------------------------------------------------------------------------------------------------------


@contextmanager
def _store(root: Path, uri: str | None) -> "Iterator[MlflowClient]":
    """A client whose database has its tables; one process at a time on a local database.

    Several processes that open a fresh database at once all try to create its tables, and all but one fail.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's own 7 take minutes to say no
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    lock = None if uri else open(root / "mlflow.db.lock", "w", encoding="utf-8")  # noqa: SIM115 - closed below
    try:
        if lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(uri or f"sqlite:///{root / 'mlflow.db'}")
        client.search_experiments(max_results=1)  # creates the tables
        yield client
    except (MlflowException, SQLAlchemyError) as error:
        where = _without_credentials(uri) if uri else str(root / "mlflow.db")
        reason = str(error).splitlines()[0].replace(str(uri), where)
        remedy = "; run `mlflow db upgrade` on it, or remove it: `panobench track` makes it anew" if not uri else ""
        raise PanobenchError(f"MLflow at {where}: {reason}{remedy}") from error
    finally:
        if lock:
            lock.close()


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _experiment(client: "MlflowClient", name: str, root: Path | None) -> str:
    """Id of the experiment, made if need be: of the kind that the UI opens with charts and run comparison."""
    found = client.get_experiment_by_name(name)
    if found is None:
        location = (root / "mlartifacts" / name).as_uri() if root else None
        return client.create_experiment(name, location, {"mlflow.experimentKind": "custom_model_development"})
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _find(client: "MlflowClient", experiment: str, content: str) -> list[Any]:
    return list(client.search_runs([experiment], f"tags.`{CONTENT_TAG}` = '{content}'"))


def _delete(client: "MlflowClient", experiment: str, parent: str) -> None:
    for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'"):
        client.delete_run(run.info.run_id)
    client.delete_run(parent)


def _log(
    client: "MlflowClient",
    experiment: str,
    content: str,
    comparison: Mapping[str, Any],
    params_file: Path,
    root: Path,
    outputs: Path,
    runs: Sequence[_Run],
) -> str:
    """Log the parent and its children; the parent's status says FINISHED last, so that a cut-off attempt is known."""
    from mlflow.entities import Param

    commit, dirty = git_state(root)
    lock_file = root / "dvc.lock"
    common = {
        "git_commit": commit or "none",
        "git_dirty": str(dirty).lower(),
        "lock_hash": sha256(lock_file) if lock_file.is_file() else "none",
    }
    stages = yaml.safe_load(lock_file.read_text(encoding="utf-8")).get("stages", {}) if lock_file.is_file() else {}
    profile = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    count = len(comparison["methods"])
    parent = client.create_run(
        experiment,
        tags={**common, CONTENT_TAG: content, "stage": "repro", "mlflow.source.name": "panobench track"},
        run_name=f"{profile['profile']}, {count} methods" + (f", {commit[:8]}" if commit else ""),
    ).info.run_id
    client.log_batch(parent, params=[Param(key, value) for key, value in flat(profile).items()])
    client.log_artifact(parent, str(params_file))
    for file in sorted((outputs / "report").iterdir()):
        if file.is_file() and not file.name.startswith("."):
            client.log_artifact(parent, str(file))
    for run in tqdm(runs, desc="MLflow", unit="run", dynamic_ncols=True):
        entry = stages.get(run.stage)
        own = {**run.tags, "stage": run.stage, "mlflow.parentRunId": parent}
        if entry:
            own["stage_hash"] = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
        _log_run(client, experiment, run, {**common, **own})
    client.set_terminated(parent)
    return parent


def _log_run(client: "MlflowClient", experiment: str, run: _Run, tags: Mapping[str, str]) -> None:
    from mlflow.entities import Metric, Param

    end = int(max(file.stat().st_mtime for file, _ in run.artifacts) * 1000)
    start = end - int(run.seconds * 1000)
    run_id = client.create_run(experiment, start_time=start, tags=dict(tags), run_name=run.name).info.run_id
    client.log_batch(run_id, params=[Param(key, value) for key, value in run.params.items()])
    # Infinities come back from the database as 1.8e308, and NaN breaks the charts: what is no number is not logged.
    metrics = [Metric(n, v, start + after, step) for n, v, step, after in run.metrics if math.isfinite(v)]
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + _BATCH])
    for file, folder in run.artifacts:
        client.log_artifact(run_id, str(file), folder or None)
    if run.table is not None:
        client.log_table(run_id, run.table, "per_video.json")
    client.set_terminated(run_id, end_time=end)
