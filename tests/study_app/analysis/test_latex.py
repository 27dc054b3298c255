"""The tables for a paper: LaTeX compiles them, whatever the methods are called, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from study_app.analysis.latex import _grouped, _table

NAMES = ("[ours] 50% & <more>_{x}", "* $y$ #1 ~ ^ \\end{table}", 'a | "b" é ü – ≈ → ×', "two\n\nlines", "\\")


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
