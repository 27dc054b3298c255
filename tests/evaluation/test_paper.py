"""What of a comparison goes into a paper: the summary table, and the methods section from what ran."""

import json
import re
from pathlib import Path

import pytest
import yaml

from evaluation.paper import latex_table, methods_section
from tests.evaluation.reproduction import LABELS
from tests.printed import BOTH, table_width


def test_latex_table_is_the_summary(outputs, comparison):
    text = (outputs / "report" / "table.tex").read_text(encoding="utf-8")
    assert r"\shortstack[r]{End \\ continuity \\ seam\_ratio $\downarrow$}" in text
    rows = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    cells = [[cell.strip() for cell in row.removesuffix(r"\\").split("&")] for row in rows]
    assert [row[0] for row in cells] == [cell for label in LABELS.values() for cell in (label, "")]
    assert all(len(row) == 4 for row in cells)
    entry = comparison["metrics"]["seam_ratio"]["methods"]["round"]
    shown = [float(number) for number in re.findall(r"-?\d+\.?\d*", cells[2][2] + cells[3][2])]
    assert shown == pytest.approx([entry[key] for key in ("mean", "low", "high")], abs=0.06)
    assert r"\textbf" in cells[0][1]
    assert text.count("{") == text.count("}")
    methods = [method | {"label": f"[{method['label']}] 50%"} for method in comparison["methods"]]
    hostile = latex_table(comparison | {"methods": methods}, dict.fromkeys(comparison["headline"].values(), 2))
    assert rf"{{[}}{next(iter(LABELS.values()))}] 50\% & " in hostile  # a bare [ would belong to the \\ before it


def test_latex_table_of_all_criteria_fits(comparison):
    """With the metrics and the methods of params.yaml; the numbers have as many digits as there can be."""
    params = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    headline = params["report"]["headline"]
    names = ("animatediff", "panorama_lora", "enhanced_360", "360dvd")
    values = {name: {"mean": -0.1234, "low": -0.1241, "high": -0.1229} for name in names}
    metrics = {name: {"direction": "lower", "best": names[3], "methods": values} for name in headline.values()}
    methods = [{"name": name, "label": params["methods"][name]["label"]} for name in names]
    shown = comparison | {"headline": headline, "metrics": metrics, "methods": methods}
    text = latex_table(shown, dict.fromkeys(metrics, 4))
    assert text.startswith(r"\begin{table*}")
    assert table_width(text) <= BOTH


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
