"""What people said stands beside the metrics in MLflow, as soon as there are votes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from evaluation.comparison import load_scored
from evaluation.report import Making, build_report
from evaluation.track import track
from study_app.analysis.analyse import analyse
from study_app.analysis.plan import Plan
from study_app.analysis.report import write_report
from tests.evaluation.reproduction import LABELS, write_reproduction
from tests.study_app.analysis.ballots import METHODS, paired, planted, votes


@pytest.mark.slow
def test_shares_are_metrics_of_the_methods_and_the_analysis_is_a_run(tmp_path: Path):
    outputs = write_reproduction(tmp_path)
    build_report(
        [load_scored(outputs / "scores" / m, label) for m, label in LABELS.items()], outputs / "report", Making("")
    )
    analysis = outputs / "study_analysis"
    write_report(analyse(votes([]), Plan()), analysis)
    first = track(tmp_path, outputs, tmp_path / "params.yaml")
    assert "user study" not in first["runs"]

    names = dict(zip(METHODS, [*LABELS, "another"], strict=False))
    rows = json.dumps(paired(planted(1, np.log([0.2, 0.2, 0.2, 0.4])), raters=4))
    for old, new in names.items():
        rows = rows.replace(old, new)
    shutil.rmtree(analysis)
    proposed = next(iter(LABELS))
    result = analyse(votes(json.loads(rows)), Plan(proposed, 100))
    write_report(result, analysis)
    second = track(tmp_path, outputs, tmp_path / "params.yaml")
    assert second["content"] != first["content"]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for method, label in LABELS.items():
        metrics = client.get_run(second["runs"][label]).data.metrics
        share = result["criteria"]["graphics"]["shares"][method]
        assert metrics["human/graphics"] == share["value"]
        assert metrics["interval/human_graphics_low"] == share["low"]
        assert "seam_ratio" in metrics
    study = client.get_run(second["runs"]["user study"])
    assert study.data.params["study.raters"] == "4"
    assert study.data.metrics["alpha/graphics"] == result["criteria"]["graphics"]["agreement"]["alpha"]
    made = [test for test in result["tests"]["primary"] if test["p_holm"] is not None]
    assert {name: value for name, value in study.data.metrics.items() if name.startswith("p_holm/")} == {
        f"p_holm/graphics/{test['b']}": test["p_holm"] for test in made
    }
    assert made
    assert {"index.html", "analysis.json", "tables.tex"} <= {
        file.path for file in client.list_artifacts(study.info.run_id)
    }
    assert track(tmp_path, outputs, tmp_path / "params.yaml")["new"] is False
