"""MLflow from files: read back through MLflow's own client, it must say what the files say, once."""

import csv
import json
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from core.errors import PanobenchError
from evaluation.comparison import load_scored
from evaluation.page import Making
from evaluation.report import build_report
from evaluation.track import CONTENT_TAG, track
from evaluation.track_content import flat, metric_name, per_video
from panobench import cli
from tests.evaluation.reproduction import LABELS, METRICS, PROMPTS, write_reproduction


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction with its report; tests that log take a copy."""
    root = tmp_path_factory.mktemp("files")
    outputs = write_reproduction(root)
    make_report(outputs)
    model = outputs / "models" / "small_lora"
    with open(model / "loss_by_timestep.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("step", "first_timestep", "last_timestep", "loss", "samples"), *CURVE])
    (model / VALIDATION).parent.mkdir(parents=True)
    shutil.copy(next((outputs / "videos").rglob("*.mp4")), model / VALIDATION)
    (root / "dvc.lock").write_text("schema: '2.0'\nstages:\n  score@flat: {cmd: score}\n", encoding="utf-8")
    return root


def make_report(outputs: Path, command: str = "panobench compare") -> None:
    methods = [load_scored(outputs / "scores" / m, label, outputs / "videos" / m) for m, label in LABELS.items()]
    build_report(methods, outputs / "report", Making(command))


VALIDATION = "validation/step-000002/prompt-0.mp4"
CURVE = [(2, 0, 99, 0.5, 3), (2, 900, 999, 0.25, 1), (4, 0, 99, 0.375, 4)]


@pytest.fixture(scope="module")
def logged(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, MlflowClient]:
    """A copy that `panobench track` has logged, as the pipeline calls it."""
    root = tmp_path_factory.mktemp("logged") / "root"
    shutil.copytree(files, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("DVC_ROOT", str(root))
        result = CliRunner().invoke(cli, ["track"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "6 runs logged, experiment panobench-nano" in result.output
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in result.output
    record = json.loads((root / "outputs" / "nano" / "mlflow.json").read_text(encoding="utf-8"))
    return root, record, MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def test_a_training_shows_its_loss_by_timestep_and_its_validation_videos(logged):
    root, record, client = logged
    run = record["runs"]["train small_lora"]
    history = client.get_metric_history(run, "loss_by_timestep/000-099")
    assert [(point.step, point.value) for point in history] == [(2, 0.5), (4, 0.375)]
    assert client.get_run(run).data.metrics["loss_by_timestep/900-999"] == 0.25
    video = client.download_artifacts(run, VALIDATION, str(root))
    assert Path(video).read_bytes() == (root / "outputs/nano/models/small_lora" / VALIDATION).read_bytes()


def log(root: Path, **options) -> dict:
    return track(root, root / "outputs" / "nano", root / "params.yaml", **options)


def runs_in(root: Path) -> list:
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("panobench-nano")
    return list(client.search_runs([experiment.experiment_id]))


# --- what is there ---------------------------------------------------------------------------------------------------


def test_one_parent_and_a_child_per_model_and_method(logged):
    _, record, client = logged
    parent = client.get_run(record["parent"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags[CONTENT_TAG] == record["content"]
    assert parent.data.tags["stage"] == "repro"
    assert set(record["runs"]) == {
        "train small_lora",
        "train small_adapter",
        *LABELS.values(),
    }
    for run_id in record["runs"].values():
        run = client.get_run(run_id)
        assert run.data.tags["mlflow.parentRunId"] == record["parent"]
        assert {"git_commit", "git_dirty", "lock_hash", "stage"} <= set(run.data.tags)
        assert run.info.status == "FINISHED"
    files = {item.path for item in client.list_artifacts(record["parent"])}
    assert {"index.html", "comparison.json", "contact_sheet.png", "params.yaml"} <= files
    flat_run = client.get_run(record["runs"]["A: Flat picture"])
    assert len(flat_run.data.tags["stage_hash"]) == 64  # its stage is in dvc.lock, the others' are not
    assert "stage_hash" not in client.get_run(record["runs"]["train small_lora"]).data.tags


def test_loss_curve_is_the_history(logged):
    root, record, client = logged
    with open(root / "outputs" / "nano" / "models" / "small_adapter" / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    run_id = record["runs"]["train small_adapter"]
    curve = sorted(client.get_metric_history(run_id, "loss"), key=lambda point: point.step)
    assert [point.step for point in curve] == [int(row["step"]) for row in rows]
    assert [point.value for point in curve] == [float(row["loss"]) for row in rows]
    run = client.get_run(run_id)
    assert set(run.data.metrics) == {"loss", "lr"}
    assert run.data.params["training.learning_rate"] == "0.0005"
    assert run.info.end_time - run.info.start_time == 15000  # the seconds of the last row
    assert curve[-1].timestamp == run.info.end_time


def test_metrics_and_table_are_those_of_the_files(logged, monkeypatch):
    root, record, client = logged
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}"
    )  # load_table looks there, not at client
    for method, label in LABELS.items():
        run_id = record["runs"][label]
        run = client.get_run(run_id)
        scored = json.loads((root / f"outputs/nano/scores/{method}/metrics.json").read_text(encoding="utf-8"))[
            "metrics"
        ]
        assert len(run.data.metrics) == 3 * len(METRICS)
        for name, entry in scored.items():
            assert run.data.metrics[name] == entry["mean"]
            assert run.data.metrics[f"interval/{name}_low"] == entry["low"]
            assert run.data.metrics[f"interval/{name}_high"] == entry["high"]
        assert run.data.params["rotation"] == json.dumps(method != "flat")
        assert run.data.params["weights.base/unet"] == "cd" * 32
        assert len(run.data.tags["scores_sha256"]) == 64
        table = client.load_table(run.info.experiment_id, "per_video.json", [run_id])
        long = pd.read_parquet(root / f"outputs/nano/scores/{method}/scores.parquet")
        for row in long.itertuples():
            cell = table.loc[table["video_id"] == row.video_id, row.metric]
            assert cell.item() == pytest.approx(row.value)
        files = {item.path for item in client.list_artifacts(run_id)}
        assert {f"{method}.png", f"{method}.json", "manifest.jsonl", "scores.parquet", "per_video.json"} <= files
        assert len(client.list_artifacts(run_id, "videos")) == len(PROMPTS)


def test_artifacts_lie_next_to_the_database(logged):
    root, record, client = logged
    assert client.get_run(record["parent"]).info.artifact_uri.startswith((root / "mlartifacts").as_uri())
    assert record["tracking"] == "sqlite:///mlflow.db"
    assert str(root) not in json.dumps(record)


# --- once ------------------------------------------------------------------------------------------------------------


def test_same_files_are_not_logged_twice(logged, tmp_path):
    root, record, _ = logged
    make_report(root / "outputs" / "nano", "another command, another minute")
    again = log(root)
    assert not again["new"]
    assert {key: again[key] for key in record} == record
    assert len(runs_in(root)) == 6


def test_rebuild_replaces_and_new_scores_add(files, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(files, root)
    first = log(root)
    rebuilt = log(root, rebuild=True)
    assert rebuilt["new"]
    assert rebuilt["content"] == first["content"]
    assert len(runs_in(root)) == 6
    assert rebuilt["parent"] != first["parent"]
    history = root / "outputs" / "nano" / "models" / "small_lora" / "history.csv"
    history.write_text(history.read_text(encoding="utf-8").replace("0.0005", "0.0004"), encoding="utf-8")
    other = log(root)
    assert other["content"] != first["content"]
    assert len(runs_in(root)) == 12


def test_a_cut_off_attempt_is_replaced(files, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(files, root)
    first = log(root)
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    client.update_run(first["parent"], status="RUNNING")  # as a killed process leaves it
    client.delete_run(next(iter(first["runs"].values())))
    second = log(root)
    assert second["new"]
    assert len(second["runs"]) == 5
    assert {run.info.run_id for run in runs_in(root)} == {second["parent"], *second["runs"].values()}


@pytest.mark.slow
def test_two_at_once_on_a_fresh_database_log_once(files, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(files, root)
    code = (
        "import sys, pathlib; from evaluation.track import track\n"
        "root = pathlib.Path(sys.argv[1]); track(root, root / 'outputs' / 'nano', root / 'params.yaml')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(root)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(runs_in(root)) == 6


# --- a server --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A tracking server of MLflow's own on this machine, with its database and artifacts in a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    with open(tmp_path / "server.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 180
            while not _answers(f"{address}/health"):
                assert process.poll() is None, (tmp_path / "server.log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.5)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_a_remote_server_holds_the_same(files, server, tmp_path, monkeypatch):
    """Over HTTP, artifacts too: nothing of it is left in the folder, and a second call finds it there."""
    root = tmp_path / "root"
    shutil.copytree(files, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    result = CliRunner().invoke(cli, ["track"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "6 runs logged" in result.output
    assert not (root / "mlflow.db").exists()
    assert not (root / "mlartifacts").exists()
    record = json.loads((root / "outputs/nano/mlflow.json").read_text(encoding="utf-8"))
    assert record["tracking"] == server
    client = MlflowClient(server)
    run = client.get_run(record["runs"]["B: Panorama"])
    scored = json.loads((root / "outputs/nano/scores/round/metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert run.data.metrics["flicker"] == scored["flicker"]["mean"]
    assert run.data.tags["mlflow.parentRunId"] == record["parent"]
    page = client.download_artifacts(record["parent"], "index.html", str(tmp_path))
    assert Path(page).read_bytes() == (root / "outputs/nano/report/index.html").read_bytes()
    assert "6 runs are there already" in CliRunner().invoke(cli, ["track"], catch_exceptions=False).output


# --- names and values ------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.printable + "äπ°@[", min_size=1, max_size=40).filter(lambda s: s.strip(" ./")))
def test_any_name_becomes_one_that_mlflow_takes(name):
    cleaned = metric_name(name)
    _validate_metric_name(cleaned)
    _validate_param_name(cleaned)


def test_settings_become_flat_parameters():
    tree = {"a": {"b": 1, "c": None, "d": {"e": [1, 2]}}, "f": "text", "g": True, "x@y": 0.5}
    assert flat(tree) == {"a.b": "1", "a.c": "null", "a.d.e": "[1, 2]", "f": "text", "g": "true", "x_y": "0.5"}


def test_table_has_a_row_per_video_in_the_order_of_the_metrics(files):
    scores = pd.read_parquet(files / "outputs" / "nano" / "scores" / "flat" / "scores.parquet")
    table = per_video(scores)
    assert list(table.columns) == ["video_id", "prompt_id", "seed", *METRICS]
    assert len(table) == len(PROMPTS)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_without_a_report_it_says_what_to_run(files, tmp_path, monkeypatch):
    shutil.copy(files / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["track"])
    assert result.exit_code == 1
    assert "outputs/nano/report/comparison.json: not there yet; run `panobench compare` first" in result.output


def test_broken_history_is_named(files, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(files, root)
    history = root / "outputs" / "nano" / "models" / "small_lora" / "history.csv"
    history.write_text("step,loss\n1,high\n", encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"history\.csv: not a table of numbers.*train again"):
        log(root)
    history.write_text("epoch,loss\n1,2\n", encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"history\.csv: has no column 'step'"):
        log(root)


def test_broken_database_and_absent_server_are_one_line(files, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(files, root)
    (root / "mlflow.db").write_bytes(b"this is no database, but it is long enough to be taken for one" * 99)
    with pytest.raises(PanobenchError, match=r"MLflow at .*mlflow\.db: .*(remove it|upgrade)") as caught:
        log(root)
    assert "\n" not in str(caught.value)
    with pytest.raises(PanobenchError, match=r"MLflow at http://127\.0\.0\.1:9: ") as caught:
        log(root, uri="http://user:secret@127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
