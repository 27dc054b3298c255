"""The tables for a paper: no name of anybody's can break them, and LaTeX compiles them where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study_app.analysis.latex import _grouped, _table, escape

ESCAPED = r"\\text(?:backslash|asciitilde|asciicircum|bar)\{\}|\\[&%$#_{}]|\$(?:[<>]|\\approx|\\to|\\times)\$|\{[\[*]\}"
NAMES = ("[ours] 50% & <more>_{x}", "* $y$ #1 ~ ^ \\end{table}", 'a | "b" é ü – ≈ → ×', "two\n\nlines", "\\")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_what_is_left_of_a_name_means_nothing_to_latex(name: str):
    assert not re.search(r'[\\&%$#_{}~^|"\[*\n\r]', re.sub(ESCAPED, "", escape(name)))


def test_the_first_cell_stands_where_it_changes():
    rows = [["a", "1"], ["a", "2"], ["b", "3"], ["a", "4"]]
    assert _grouped(rows) == [["a", "1"], ["", "2"], ["b", "3"], ["a", "4"]]
    assert _grouped([]) == []


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_a_table_of_hostile_names(tmp_path: Path):
    (tmp_path / "tables.tex").write_text(_table("A & B", "tab:x", ["Method", "Win rate, %"], [[n, n] for n in NAMES]))
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
