"""No name of anybody's can break a table, and a table fits; LaTeX compiles it, where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.latex import _points, escape, labelled, stacked, table
from tests.printed import COLUMN, line_width, table_width

ESCAPED = r"\\text(?:backslash|asciitilde|asciicircum|bar)\{\}|\\[&%$#_{}]|\$(?:[<>]|\\approx|\\to|\\times)\$|\{[\[*]\}"
NAMES = ("[ours] 50% & <more>_{x}", "* $y$ #1 ~ ^ \\end{table}", 'a | "b" é ü – ≈ → ×', "two\n\nlines", "\\")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_what_is_left_of_a_name_means_nothing_to_latex(name: str):
    assert not re.search(r'[\\&%$#_{}~^|"\[*\n\r]', re.sub(ESCAPED, "", escape(name)))


def test_a_long_name_goes_on_below():
    name = "a name of more characters than one line"
    first, second = labelled(name, ["1", "2"])
    assert f"{first[0]} {second[0]}" == name
    assert (first[1:], second[1:]) == (["1", "2"], ["", ""])
    assert labelled(name, ["1"], ["2"], ["3"])[2] == ["", "3"]
    assert labelled("", ["1"]) == [["", "1"]]
    assert labelled("50 %", ["1"]) == [[r"50 \%", "1"]]


def test_a_title_of_two_words_stands_on_two_lines():
    assert stacked("Win rate, %") == ["Win", r"rate, \%"]
    assert stacked("Method") == ["Method"]
    assert stacked(" ") == [""]


@pytest.mark.parametrize(
    "text",
    ["A: AnimateDiff", "B: + panorama LoRA / C: B + 360ET", "D without latitude loss", "Content distribution",
     "45.1–58.0", "<0.001", "[0.996, 1.000]", "seam_ratio", "WWW mmm", "100"],
)  # fmt: skip
def test_widths_by_counting_are_near_those_of_the_glyphs(text: str):
    assert _points(escape(text), 8) == pytest.approx(line_width(escape(text), 8), rel=0.2)


@pytest.mark.parametrize("characters", range(20, 70, 5))
def test_what_a_column_cannot_hold_spans_two(characters: int):
    text = table("A", "tab:x", [["Method"], ["Wins"]], [[("method " * 10)[:characters].strip(), "100"]])
    if text.startswith(r"\begin{table}"):
        assert table_width(text) <= COLUMN
    else:
        assert text.startswith(r"\begin{table*}")
        assert table_width(text) > 0.8 * COLUMN


@pytest.mark.parametrize("rows", [[], [["a heading"]], [["", ""]]])
def test_a_table_of_next_to_nothing(rows: list[list[str]]):
    text = table("A", "tab:x", [[""], ["$p$"]], rows)
    assert text.startswith(r"\begin{table}")
    assert text.endswith(r"\end{table}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("last", ["100", "wide " * 20])
def test_latex_compiles_a_table_of_hostile_names(tmp_path: Path, last: str):
    rows = [row for name in NAMES for row in ([escape(name)], *labelled(name, [escape(name)], [last]))]
    (tmp_path / "tables.tex").write_text(table("A & B", "tab:x", [["Method"], stacked("Win rate, %")], rows))
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
