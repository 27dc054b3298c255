"""`panobench compare`: the files it writes, from whatever it is given."""

import json
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner

from evaluation.compare_cli import compare as compare_command
from evaluation.comparison import load_scored
from evaluation.page import Making
from evaluation.report import build_report
from panobench import cli
from tests.evaluation.markup import Page
from tests.evaluation.reproduction import LABELS, METRICS, PROMPTS


def test_same_files_same_numbers_and_pictures(outputs, tmp_path, comparison):
    methods = [load_scored(outputs / "scores" / m, LABELS[m], outputs / "videos" / m) for m in LABELS]
    again = build_report(methods, tmp_path / "report", Making("another command"))
    assert {k: v for k, v in json.loads(json.dumps(again)).items() if k != "made"} == {
        k: v for k, v in comparison.items() if k != "made"
    }
    for name in ("results.md", "scores.parquet", "contact_sheet.png", "seams.png", "metrics.png"):
        assert (tmp_path / "report" / name).read_bytes() == (outputs / "report" / name).read_bytes(), name


def test_a_row_per_video_for_dvc(outputs):
    table = pd.read_csv(outputs / "report" / "per_video.csv")
    assert len(table) == 18
    row = table[table["video"] == "round/p2-0"].iloc[0]
    scores = pd.read_parquet(outputs / "scores" / "round" / "scores.parquet")
    for name in METRICS:
        own = scores[(scores["video_id"] == "p2-0") & (scores["metric"] == name)]["value"].item()
        assert row[name] == pytest.approx(own)


def test_without_videos_it_has_the_numbers(outputs, tmp_path, monkeypatch):
    shutil.copytree(outputs / "scores" / "flat", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(compare_command, ["mine", str(outputs / "scores" / "round"), "--label", "flat=My own"])
    assert result.exit_code == 0, result.output
    assert "without pictures: My own (name their folders with --videos METHOD=FOLDER)" in result.output
    page = Page(tmp_path / "report" / "index.html")
    assert page.tags.count("video") == len(PROMPTS)
    assert "no video" in page.text
    assert "seam_ratio" in page.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scores/flat", "--videos", "flt=x"], "--videos: no method 'flt' among the scores; did you mean 'flat'"),
        (["scores/flat", "--label", "flat"], "--label: expected METHOD=VALUE, got 'flat'"),
        ([], "give the folders to compare, or run where a params.yaml of panobench is"),
    ],
)
def test_command_line_mistakes_are_one_line(outputs, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(outputs if arguments else tmp_path)
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
