"""The comparison and its page: what it says must follow from the files, and it must need nothing but itself."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from core.errors import PanobenchError
from core.sphere import erp_to_view
from core.video import read_video
from evaluation import page as page_module
from evaluation.compare_cli import compare as compare_command
from evaluation.comparison import check_comparable, compare, decimals, load_scored, results_markdown
from evaluation.findings import CRITERIA, findings, standing
from evaluation.page import Making
from evaluation.paper import latex_table, methods_section
from evaluation.pictures import Shots, read_shots, save_moving, seam_crop
from evaluation.provenance import git_state
from evaluation.report import build_report
from panobench import cli
from tests.evaluation.reproduction import LABELS, METRICS, PROMPTS, write_reproduction, write_scored, write_videos


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction whose report was made by the command, without arguments, as the pipeline does it."""
    root = tmp_path_factory.mktemp("reproduction")
    outputs = write_reproduction(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        result = CliRunner().invoke(cli, ["compare"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "3 methods, 6 prompts: outputs/nano/report/index.html" in result.output
    return outputs


@pytest.fixture(scope="module")
def comparison(outputs: Path) -> dict:
    return json.loads((outputs / "report" / "comparison.json").read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Every address in a page, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [(tag, value) for key, value in attrs if key in ("src", "href", "poster", "srcset") and value]

    def handle_data(self, data):
        self.text += data


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_means_are_those_of_the_scores_and_differences_are_paired(outputs, comparison):
    for method in LABELS:
        scored = json.loads((outputs / "scores" / method / "metrics.json").read_text(encoding="utf-8"))["metrics"]
        for name, metric in comparison["metrics"].items():
            for key in ("mean", "low", "high", "n"):
                assert metric["methods"][method][key] == scored[name][key]
    merged = pd.read_parquet(outputs / "report" / "scores.parquet")
    wide = merged.pivot(index="prompt_id", columns=["metric", "method"], values="value")
    for name, metric in comparison["metrics"].items():
        assert len(metric["differences"]) == 3
        for row in metric["differences"]:
            true = wide[name, row["a"]] - wide[name, row["b"]]
            assert row["mean"] == pytest.approx(true.mean())
            assert (row["n"], row["prompts"]) == (6, 6)
            assert row["low"] <= row["mean"] <= row["high"]
            assert true.min() - 1e-9 <= row["low"] <= row["high"] <= true.max() + 1e-9


def test_what_it_says_of_these_methods(comparison):
    """Known by construction: the flat one has a seam and no flicker, the round and the shaky one have no seam."""
    seam, flicker = comparison["metrics"]["seam_ratio"], comparison["metrics"]["flicker"]
    assert seam["best"] is None
    assert {seam["leader"], *seam["tied"]} == {"round", "shaky"}
    assert flicker["best"] == "flat"
    assert comparison["metrics"]["motion_speed"]["leader"] is None
    found = {f["criterion"]: f["outcomes"] for f in findings(comparison)}
    assert {"leader": "A: Flat picture", "tied": "", "metrics": ["flicker"]} in found["Frame consistency"]
    assert "Motion pattern" not in found


def difference(a, b, low, high):
    return {"a": a, "b": b, "mean": (low + high) / 2 if low is not None else 0.0, "low": low, "high": high}


@pytest.mark.parametrize(
    ("direction", "differences", "expected"),
    [
        ("higher", [(0.1, 1), (0.1, 2), (0.5, 1)], ("a", "a", [])),
        ("higher", [(-0.1, 1), (0.1, 2), (0.5, 1)], ("a", None, ["b"])),
        ("higher", [(-0.1, 1), (-0.1, 2), (0.5, 1)], ("a", None, [])),
        ("lower", [(0.1, 1), (0.1, 2), (0.5, 1)], ("c", "c", [])),
        ("lower", [(0.1, 1), (0.1, 2), (0.0, 1)], ("c", None, ["b"])),  # touching zero does not exclude it
        ("higher", [(None, None), (None, None), (None, None)], ("a", None, [])),  # one prompt
        ("none", [(0.1, 1), (0.1, 2), (0.5, 1)], (None, None, [])),
    ],
)
def test_best_only_if_every_difference_excludes_zero(direction, differences, expected):
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    rows = [difference(x, y, *ends) for (x, y), ends in zip(pairs, differences, strict=True)]
    found = standing({"a": 3.0, "b": 2.0, "c": 1.0}, rows, direction)
    assert (found["leader"], found["best"], found["tied"]) == expected


def test_one_method_alone_and_missing_metrics(outputs, tmp_path):
    write_scored(outputs / "videos" / "flat", tmp_path / "flat", ("seam_ratio",))
    alone = compare([load_scored(tmp_path / "flat")], 100, 0, 0.95)
    assert alone["metrics"]["seam_ratio"]["differences"] == []
    both = compare([load_scored(tmp_path / "flat"), load_scored(outputs / "scores" / "round")], 100, 0, 0.95)
    assert list(both["metrics"]["flicker"]["methods"]) == ["round"]
    assert "| – |" in results_markdown(both)


def test_one_prompt_has_no_interval(tmp_path):
    for method in ("flat", "round"):
        write_videos(tmp_path / "videos" / method, method, {"only": "one prompt"})
        write_scored(tmp_path / "videos" / method, tmp_path / "scores" / method)
    methods = [load_scored(tmp_path / "scores" / m, videos=tmp_path / "videos" / m) for m in ("flat", "round")]
    found = build_report(methods, tmp_path / "report", Making("panobench compare"))
    assert found["metrics"]["seam_ratio"]["best"] is None
    assert "one prompt" in Page(tmp_path / "report" / "index.html").text


def test_different_prompts_give_no_pairs(outputs, tmp_path):
    write_videos(tmp_path / "flat", "flat", {"q0": "x", "q1": "y"})
    write_scored(tmp_path / "flat", tmp_path / "scores")
    found = compare([load_scored(tmp_path / "scores"), load_scored(outputs / "scores" / "round")], 100, 0, 0.95)
    assert found["metrics"]["seam_ratio"]["differences"][0]["n"] == 0
    assert found["metrics"]["seam_ratio"]["best"] is None


def test_markdown_table_shows_the_numbers(outputs, comparison):
    lines = (outputs / "report" / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| metric | A")
    row = next(line for line in lines if line.startswith("| flicker"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    entry = comparison["metrics"]["flicker"]["methods"]
    assert cells[0] == "flicker (grey levels) ↓"
    for cell, method in zip(cells[1:], LABELS, strict=True):
        shown = [float(number) for number in re.findall(r"-?\d+\.?\d*", cell)]
        assert shown == pytest.approx([entry[method][k] for k in ("mean", "low", "high")], abs=0.06)
    assert cells[1].startswith("**")


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        ([{"mean": 123.4, "low": 100.0, "high": 150.0}], 0),
        ([{"mean": 1.234, "low": 1.1, "high": 1.5}], 2),
        ([{"mean": 0.9991, "low": 0.9966, "high": 1.0}], 4),
        ([{"mean": 0.0, "low": 0.0, "high": 0.0}], 2),
        ([{"mean": 2.0, "low": None, "high": None}], 2),
    ],
)
def test_decimals_fit_the_uncertainty(rows, places):
    assert decimals(rows) == places


# --- for a paper -----------------------------------------------------------------------------------------------------


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


def test_latex_table_is_the_summary(outputs, comparison):
    text = (outputs / "report" / "table.tex").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("    ") and line.endswith(r"\\")]
    assert [row.split("&")[0].strip() for row in rows[2:]] == list(LABELS.values())
    assert r"seam\_ratio $\downarrow$" in rows[1]
    assert all(row.count("&") == 3 for row in rows)
    entry = comparison["metrics"]["seam_ratio"]["methods"]["round"]
    shown = [float(number) for number in re.findall(r"-?\d+\.?\d*", rows[3].split("&")[2])]
    assert shown == pytest.approx([entry[key] for key in ("mean", "low", "high")], abs=0.06)
    assert r"\textbf" in rows[2].split("&")[1]
    assert text.count("{") == text.count("}")
    methods = [method | {"label": f"[{method['label']}] 50%"} for method in comparison["methods"]]
    hostile = latex_table(comparison | {"methods": methods}, dict.fromkeys(comparison["headline"].values(), 2))
    assert rf"    {{[}}{next(iter(LABELS.values()))}] 50\% & " in hostile  # a bare [ would belong to the \\ before it


def test_methods_section_says_what_ran(outputs, comparison):
    text = (outputs / "report" / "methods.txt").read_text(encoding="utf-8")
    assert "We compare 3 methods on 6 prompts (18 videos): equirectangular, 64 × 32 pixels" in text
    assert "flicker for frame consistency, seam_ratio for end continuity and motion_speed for motion pattern" in text
    assert "Holm-corrected for the 3 pairs of methods" in text
    assert "with 6 prompts no p-value can be below 0.031" in text
    assert comparison["made"]["versions"]["torch"] in text
    assert "The manifests say how the videos were made: steps 16, motion still for shaky.\n" in text


def test_methods_section_says_how_videos_were_made_as_far_as_manifests_do(outputs, comparison):
    settings = json.loads((outputs / "scores/round/settings.json").read_text(encoding="utf-8"))
    given = [{"steps": "16", "motion": "drift-forward or still"}, {"steps": "16"}, {}]
    methods = [method | {"generator": made} for method, made in zip(comparison["methods"], given, strict=True)]
    a, b, _ = LABELS
    assert methods_section(comparison | {"methods": methods}, settings, comparison["made"])[1] == (
        f"Of {a} and {b} the manifests say how the videos were made: steps 16, motion drift-forward or still for {a}."
    )


def test_methods_section_says_whose_videos_were_resampled(outputs, comparison):
    settings = json.loads((outputs / "scores" / comparison["methods"][0]["name"] / "settings.json").read_text())

    def said(*how: dict | None) -> str:
        methods = [{**m, "resample": h} for m, h in zip(comparison["methods"], how, strict=True)]
        return methods_section(comparison | {"methods": methods}, settings, comparison["made"])[0]

    small = {"width": 64, "height": 32, "fps": None, "frames": 4}
    labels = [method["label"] for method in comparison["methods"]]
    nothing = [None] * (len(labels) - 1)
    assert "resampled" not in said(None, *nothing)
    assert "to which they were resampled (no frame repeated or padded)." in said(*[small] * len(labels))
    assert f"those of {labels[0]} to 64 × 32 pixels and 4 frames; those of" in said(small, *nothing)


def test_methods_section_gives_floors_and_what_was_refused(outputs, comparison):
    settings = json.loads((outputs / "scores/round/settings.json").read_text(encoding="utf-8"))
    measured = {"seam_ratio": comparison["metrics"]["seam_ratio"] | {"floor": {"mean": 0.1784, "high": 0.31}}}
    told = comparison | {"metrics": measured, "refused": {"kid": "no number: 2 videos against 40"}}
    text = methods_section(told, settings, comparison["made"])[4]
    assert text == (
        "Between two halves of the reference, alike by design, seam_ratio reads 0.178 (up to 0.31). "
        "kid has no number: 2 videos against 40."
    )
    assert len(methods_section(comparison, settings, comparison["made"])) == 5


def test_a_row_per_video_for_dvc(outputs):
    table = pd.read_csv(outputs / "report" / "per_video.csv")
    assert len(table) == 18
    row = table[table["video"] == "round/p2-0"].iloc[0]
    scores = pd.read_parquet(outputs / "scores" / "round" / "scores.parquet")
    for name in METRICS:
        own = scores[(scores["video_id"] == "p2-0") & (scores["metric"] == name)]["value"].item()
        assert row[name] == pytest.approx(own)


def test_best_and_worst_are_those_of_the_numbers(outputs):
    page = (outputs / "report" / "index.html").read_text(encoding="utf-8")
    pairs = re.findall(r"<b>(best|worst)</b>([\d.]+)", page)
    scores = pd.read_parquet(outputs / "report" / "scores.parquet")
    for name, found in (("flicker", pairs[:2]), ("seam_ratio", pairs[2:])):
        values = scores[scores["metric"] == name]["value"]  # both are better if lower
        assert [what for what, _ in found] == ["best", "worst"]
        assert [float(value) for _, value in found] == pytest.approx([values.min(), values.max()], abs=0.06)


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


# --- refusals --------------------------------------------------------------------------------------------------------


def test_scores_of_other_sizes_or_settings_do_not_compare(outputs, tmp_path):
    write_videos(tmp_path / "flat", "flat", height_factor=2)
    write_scored(tmp_path / "flat", tmp_path / "large")
    methods = [load_scored(outputs / "scores" / "round"), load_scored(tmp_path / "large")]
    with pytest.raises(PanobenchError, match=r"round and flat do not compare: the videos' height is 32 for one and 64"):
        check_comparable(methods)
    shutil.copytree(outputs / "scores" / "flat", tmp_path / "newer")
    settings = json.loads((tmp_path / "newer" / "settings.json").read_text(encoding="utf-8"))
    settings["metrics"]["flicker"]["version"] += 1
    (tmp_path / "newer" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"flicker's version is 1 for one and 2"):
        check_comparable([methods[0], load_scored(tmp_path / "newer")])
    with pytest.raises(PanobenchError, match=r"two score folders are of the method 'round'.*--method"):
        check_comparable([methods[0], methods[0]])


def test_broken_score_folders_are_named(outputs, tmp_path):
    with pytest.raises(PanobenchError, match=r"nowhere: no such folder; `panobench score"):
        load_scored(tmp_path / "nowhere")
    folder = tmp_path / "broken"
    shutil.copytree(outputs / "scores" / "flat", folder)
    (folder / "scores.parquet").write_bytes(b"not parquet")
    with pytest.raises(PanobenchError, match=r"scores\.parquet: not a readable table"):
        load_scored(folder)
    shutil.copy(outputs / "scores" / "flat" / "scores.parquet", folder)
    (folder / "metrics.json").write_text('{"schema": 9}', encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"metrics\.json: not of schema 1"):
        load_scored(folder)
    videos = tmp_path / "videos"
    shutil.copytree(outputs / "videos" / "flat", videos)
    (videos / "p2-0.mp4").unlink()
    with pytest.raises(PanobenchError, match=r"the scored video 'p2-0' of flat is not there"):
        load_scored(outputs / "scores" / "flat", videos=videos)


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


# --- pictures --------------------------------------------------------------------------------------------------------


def test_seam_is_in_the_middle_of_its_close_up(outputs):
    frame = np.zeros((32, 64, 3), np.uint8)
    frame[..., 0] = np.arange(64)
    frame[..., 1] = np.arange(32)[:, None]
    crop = seam_crop(frame)
    assert crop.shape == (16, 16, 3)
    assert crop[0, :, 0].tolist() == [*range(56, 64), *range(8)]
    assert crop[:, 0, 1].tolist() == list(range(8, 24))
    assert seam_crop(np.zeros((512, 1024, 3), np.uint8)).shape == (64, 64, 3)
    file = outputs / "videos" / "round" / "p1-0.mp4"
    frames = read_video(file).frames
    np.testing.assert_array_equal(read_shots(file).frames, frames[[0, 2, 3]])
    np.testing.assert_array_equal(read_shots(file).seam, seam_crop(frames[2]))
    above = erp_to_view(
        torch.from_numpy(frames[2]).permute(2, 0, 1)[None].float(), 32, 32, 2 * np.pi / 3, pitch=np.pi / 2
    )
    np.testing.assert_allclose(read_shots(file).poles[0], above[0].permute(1, 2, 0).numpy(), atol=0.51)


def test_sheets_hold_every_method_and_prompt(outputs):
    folder = outputs / "report"
    with Image.open(folder / "contact_sheet.png") as sheet, Image.open(folder / "seams.png") as seams:
        assert sheet.width >= 3 * 288
        assert sheet.height >= 4 * (144 + 72)
        assert seams.height >= 4 * 256
        # The middle frame of the second method's first prompt, enlarged, is where it should be.
        cell = np.asarray(sheet.crop((12 + 300, 34 + 26, 12 + 300 + 288, 34 + 26 + 144))).astype(float)
    middle = read_video(outputs / "videos" / "round" / "p0-0.mp4").frames[2]
    small = np.asarray(Image.fromarray(cell.astype(np.uint8)).resize((64, 32), Image.Resampling.BOX)).astype(float)
    assert np.abs(small - middle).mean() < 6
    assert sorted(file.stem for file in (folder / "sheets").iterdir()) == sorted(LABELS)
    with Image.open(folder / "metrics.png") as plots:
        assert plots.width > 1000


def test_the_moving_sheet_plays_every_video_at_its_speed(outputs):
    video = read_video(outputs / "videos" / "round" / "p0-0.mp4")
    with Image.open(outputs / "report" / "moving.webp") as sheet:
        assert (sheet.n_frames, sheet.info["loop"]) == (len(video.frames), 0)
        for index, frame in enumerate(video.frames):
            sheet.seek(index)
            sheet.load()
            assert sheet.info["duration"] == round(1000 / video.fps)
            cell = sheet.convert("RGB").crop((12 + 204, 34 + 26, 12 + 204 + 192, 34 + 26 + 96))
            small = np.asarray(cell.resize((64, 32), Image.Resampling.BOX)).astype(float)
            assert np.argmin([np.abs(small - other).mean() for other in video.frames]) == index
            assert np.abs(small - frame).mean() < 12


def test_a_moving_sheet_holds_as_many_prompts_as_webp_can(tmp_path):
    still = np.zeros((1, 96, 192, 3), np.uint8)
    shot = Shots(still, still[0], still, still, 0.125)
    prompts = [(f"p{i}", f"prompt {i}") for i in range(130)]
    save_moving(tmp_path / "moving.webp", {("m", prompt): shot for prompt, _ in prompts}, [("m", "M")], prompts)
    with Image.open(tmp_path / "moving.webp") as sheet:
        assert 16383 - (26 + 96 + 12) < sheet.height <= 16383


# --- the page --------------------------------------------------------------------------------------------------------


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


def test_same_files_same_numbers_and_pictures(outputs, tmp_path, comparison):
    methods = [load_scored(outputs / "scores" / m, LABELS[m], outputs / "videos" / m) for m in LABELS]
    again = build_report(methods, tmp_path / "report", Making("another command"))
    assert {k: v for k, v in json.loads(json.dumps(again)).items() if k != "made"} == {
        k: v for k, v in comparison.items() if k != "made"
    }
    for name in ("results.md", "scores.parquet", "contact_sheet.png", "seams.png", "metrics.png"):
        assert (tmp_path / "report" / name).read_bytes() == (outputs / "report" / name).read_bytes(), name


# --- provenance ------------------------------------------------------------------------------------------------------


def test_git_state(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) == (None, False)
    git("init")
    for name in ("code.py", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "start")
    commit, dirty = git_state(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    (tmp_path / "untracked").write_text("1")
    (tmp_path / "dvc.lock").write_text("2")
    assert git_state(tmp_path) == (commit, dirty) == (commit, False)
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path) == (commit, True)


# --- in a browser ----------------------------------------------------------------------------------------------------


FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def look_around(page) -> None:
    """Open the second method's first video, turn to the seam and the poles, drag: the colours are the frame's."""
    page.locator("section.prompt .look").nth(1).click()
    page.wait_for_function("document.getElementById('around').dataset.status === 'ready'")
    page.locator("dialog [data-do=play]").click()
    assert "Panorama" in page.locator("dialog .bar p").inner_text()
    seen = {name: centre(page, name) for name in ("look", "seam", "up", "down", "flat")}
    frame = page.evaluate(PIXELS)
    pixels = np.array(frame, dtype=float).reshape(32, 64, 4)[..., :3]
    expected = {"look": pixels[15:17, 31:33], "seam": pixels[15:17, [0, -1]], "up": pixels[:1], "down": pixels[-1:]}
    expected["flat"] = expected["seam"]
    for name, colours in expected.items():
        assert (seen[name] > colours.min(axis=(0, 1)) - 6).all(), name
        assert (seen[name] < colours.max(axis=(0, 1)) + 6).all(), name
    assert np.abs(seen["look"] - seen["seam"]).max() > 20
    page.locator("dialog [data-do=look]").click()
    box = page.locator("dialog canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.up()
    assert page.evaluate("around.yaw") > 5
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('around').open")


PIXELS = """() => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 32});
  const context = canvas.getContext('2d');
  context.drawImage(around.video, 0, 0);
  return [...context.getImageData(0, 0, 64, 32).data];
}"""


def centre(page, name: str) -> np.ndarray:
    """Colour in the middle of the canvas after a button."""
    page.locator(f"dialog [data-do={name}]").click()
    page.evaluate("around.draw()")
    return np.array(
        page.evaluate(
            """() => {
              const {gl, canvas} = around, pixel = new Uint8Array(4);
              gl.readPixels(canvas.width / 2, canvas.height / 2, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
              return [...pixel].slice(0, 3);
            }"""
        ),
        dtype=float,
    )


@pytest.mark.browser
def test_page_in_a_browser(outputs, tmp_path):
    """Opened from disk: no error, no request, videos play and pause, both themes, no sideways scrolling on a phone."""
    from playwright.sync_api import sync_playwright

    file = (outputs / "report" / "index.html").resolve().as_uri()
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        problems: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file)
        page.locator("section.prompt").first.scroll_into_view_if_needed()
        page.wait_for_function("[...document.querySelectorAll('video')].slice(0, 3).every(v => v.readyState >= 2)")
        page.wait_for_function("[...document.querySelectorAll('video')].slice(0, 3).every(v => !v.paused)")
        assert page.evaluate("document.querySelector('video').videoWidth") == 64
        page.get_by_role("button", name="Pause videos").click()
        assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="switch between light and dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        assert (
            page.locator("tr[data-metric=flicker] td.best")
            .inner_text()
            .startswith(page.locator("tr[data-metric=flicker] td .value").first.inner_text())
        )
        look_around(page)
        page.screenshot(path=tmp_path / "report.png")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert problems == []
    assert [address for address in requests if not address.startswith(("data:", "file:", "blob:"))] == []
