"""MLflow from files: one parent run per reproduction, a child per trained model, a child per method.

The files are the truth and MLflow is a view of them, so nothing is logged while a stage runs: a stage restored from
DVC's cache would leave no run. A hash of the logged content is a tag of the parent run; what is there already is not
logged again, and a run that was cut off is replaced. Pictures, tables, small videos and hashes are logged, weights are
not.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import read_json, sha256
from evaluation.provenance import git_state
from evaluation.track_content import Run, fingerprint, flat, method_runs, study_runs, training_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMA = 1
CONTENT_TAG = "panobench.content"
_BATCH = 1000  # metrics per request: MLflow's limit


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
        *training_runs(outputs, params["run"]["models"]),
        *method_runs(outputs, comparison),
        *study_runs(outputs),
    ]
    content = fingerprint(comparison, params_file, runs)
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
    runs: Sequence[Run],
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


def _log_run(client: "MlflowClient", experiment: str, run: Run, tags: Mapping[str, str]) -> None:
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
