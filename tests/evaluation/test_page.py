"""The report's page: what it shows must follow from the files, and it must need nothing but itself."""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from click.testing import CliRunner

from evaluation import page as page_module
from evaluation.comparison import load_scored
from evaluation.findings import CRITERIA
from evaluation.page import Making
from evaluation.report import build_report
from panobench import cli
from tests.evaluation.markup import Page
from tests.evaluation.reproduction import LABELS, PROMPTS, write_scored, write_videos


def test_page_needs_nothing_but_itself(outputs):
    file = outputs / "report" / "index.html"
    page = Page(file)
    for tag, address in page.addresses:
        assert not re.match(r"(https?:)?//", address), f"{tag} fetches {address}"
        if not address.startswith(("data:", "#")):
            assert (file.parent / unquote(address)).exists(), address
    assert "link" not in [tag for tag, address in page.addresses if not address.startswith("data:")]
    assert not re.search(r"url\((?!['\"]?data:)|@import", file.read_text(encoding="utf-8"))
    linked = {Path(unquote(a)).name for _, a in page.addresses}
    assert {"manifest.jsonl", "scores.parquet", "settings.json", "params.yaml", "comparison.json"} <= linked


def test_videos_in_the_page_are_the_files(outputs):
    page = Page(outputs / "report" / "index.html")
    embedded = [base64.b64decode(a.partition(",")[2]) for tag, a in page.addresses if tag == "video"]
    listed = {
        json.loads(line)["sha256"]
        for method in LABELS
        for line in (outputs / "videos" / method / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    }
    assert len(embedded) == 18
    assert {hashlib.sha256(data).hexdigest() for data in embedded} == listed


def test_page_says_how_it_was_made(outputs, comparison):
    text = " ".join(Page(outputs / "report" / "index.html").text.split())
    assert comparison["made"]["time"] in text
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", comparison["made"]["time"])
    assert comparison["made"]["command"] in text
    for expected in (
        "64 × 32 pixels, 4 frames at 8 frames per second",
        "400 resamples, seed 7",
        "flicker 1",
        "No metric looked through views",
    ):
        assert expected in text, expected
    assert "torch" in comparison["made"]["versions"]


def test_summary_has_a_row_per_method_and_a_column_per_criterion(outputs, comparison):
    page = (outputs / "report" / "index.html").read_text(encoding="utf-8")
    table = re.search(r'<table class="summary">.*?</table>', page, re.DOTALL)[0]
    assert re.findall(r"<th>([A-Z][a-z]+ [a-z]+)", table) == list(CRITERIA.values())
    assert re.findall(r'<tr data-method="(\w+)">', table) == list(LABELS)
    assert table.count("not measured") == 2  # graphics quality and content distribution
    assert comparison["headline"] == {
        "frame_consistency": "flicker", "end_continuity": "seam_ratio",
        "motion_pattern": "motion_speed",
    }  # fmt: skip
    best = re.search(r'class="best"[^>]*><span class="value">([\d.]+)', table)[1]
    assert float(best) == pytest.approx(comparison["metrics"]["flicker"]["methods"]["flat"]["mean"], abs=0.05)


def test_best_and_worst_are_those_of_the_numbers(outputs):
    page = (outputs / "report" / "index.html").read_text(encoding="utf-8")
    pairs = re.findall(r"<b>(best|worst)</b>([\d.]+)", page)
    scores = pd.read_parquet(outputs / "report" / "scores.parquet")
    for name, found in (("flicker", pairs[:2]), ("seam_ratio", pairs[2:])):
        values = scores[scores["metric"] == name]["value"]  # both are better if lower
        assert [what for what, _ in found] == ["best", "worst"]
        assert [float(value) for _, value in found] == pytest.approx([values.min(), values.max()], abs=0.06)


def test_one_prompt_has_no_interval(tmp_path):
    for method in ("flat", "round"):
        write_videos(tmp_path / "videos" / method, method, {"only": "one prompt"})
        write_scored(tmp_path / "videos" / method, tmp_path / "scores" / method)
    methods = [load_scored(tmp_path / "scores" / m, videos=tmp_path / "videos" / m) for m in ("flat", "round")]
    found = build_report(methods, tmp_path / "report", Making("panobench compare"))
    assert found["metrics"]["seam_ratio"]["best"] is None
    assert "one prompt" in Page(tmp_path / "report" / "index.html").text


def test_votes_add_the_agreement(outputs, tmp_path):
    rows = ["rater,prompt_id,criterion,kind,preferred,methods"]
    for rater in range(12):
        for prompt in PROMPTS:
            rows += [f"r{rater},{prompt},continuity,scored,round,flat|round" for _ in range(3)]
    rows += ["r0,p0,motion,scored,tie,flat|round"]
    (tmp_path / "votes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    folders = [str(outputs / "scores" / method) for method in ("flat", "round")]
    result = CliRunner().invoke(
        cli, ["compare", *folders, "--votes", str(tmp_path / "votes.csv"), "--out", str(tmp_path / "report")]
    )
    assert result.exit_code == 0, result.output
    text = " ".join(Page(tmp_path / "report" / "index.html").text.split())
    assert "216 duels, 12 raters, 6 prompts" in text
    assert "seam_ratio100 % [100, 100]" in text
    assert "Too few votes: 0 votes that are no tie (at least 100)" in text
    assert "Agreement with people" not in Page(outputs / "report" / "index.html").text


def test_prompts_are_text_not_markup(outputs):
    page = Page(outputs / "report" / "index.html")
    assert PROMPTS["p0"] in page.text
    assert "<b>red" not in (outputs / "report" / "index.html").read_text(encoding="utf-8")


def test_large_videos_are_linked(outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "_EMBED_LIMIT", 1000)
    methods = [load_scored(outputs / "scores" / m, LABELS[m], outputs / "videos" / m) for m in ("flat", "round")]
    build_report(methods, tmp_path / "a b" / "report", Making("x", prompts_shown=2))
    page = Page(tmp_path / "a b" / "report" / "index.html")
    videos = [address for tag, address in page.addresses if tag == "video"]
    assert len(videos) == 4
    assert all((tmp_path / "a b" / "report" / unquote(address)).is_file() for address in videos)
    assert "The first 2 of 6 prompts are shown" in page.text
