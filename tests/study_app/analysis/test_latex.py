"""The tables for a paper: LaTeX compiles them, whatever the methods are called, where there is one; and they fit."""

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import yaml
from matplotlib.ft2font import FT2Font, LoadFlags

from study_app.analysis.analyse import analyse
from study_app.analysis.latex import _grouped, _labelled, _points, _table, tables
from study_app.analysis.plan import Plan
from study_app.analysis.votes import from_rows
from study_app.texts import load_texts
from tests.study_app.analysis.ballots import METHODS, paired, planted

NAMES = ("[ours] 50% & <more>_{x}", "* $y$ #1 ~ ^ \\end{table}", 'a | "b" é ü – ≈ → ×', "two\n\nlines", "\\")
COLUMN, PAGE = 229.9, 345.0  # points: a column of article's two, and article's only one, in 10 points on US letter
LABELS = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))["methods"]


def test_the_first_cell_becomes_a_heading_where_it_changes():
    rows = [["a", "1", "x"], ["a", "2", "x"], ["b", "3", "x"], ["a", "4", "x"]]
    assert _grouped(rows) == [["a"], ["1", "x"], ["2", "x"], ["b"], ["3", "x"], ["a"], ["4", "x"]]
    assert _grouped([]) == []


def test_a_long_name_goes_on_below():
    name = "a name of more characters than one line"
    first, second = _labelled(name, ["1", "2"])
    assert f"{first[0]} {second[0]}" == name
    assert (first[1:], second[1:]) == (["1", "2"], ["", ""])
    assert _labelled(name, ["1"], ["2"], ["3"])[2] == ["", "3"]
    assert _labelled("", ["1"]) == [["", "1"]]


def printed(text: str, size: float) -> float:
    """Width in points of a line in Computer Modern, from the glyphs."""
    for written, like in ((r"\\%", "%"), ("--", "0"), (r"\$<\$", "+"), (r"\$(.*?)\$", r"\1")):  # a dash is a digit wide
        text = re.sub(written, like, text)
    assert not set(text) & set("\\{}$&#_"), text
    text = unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode()  # an accent adds no width
    font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/cmr10.ttf")
    font.set_size(size, 72)
    font.set_text(text, flags=LoadFlags.NO_HINTING)
    return font.get_width_height()[0] / 64


def printed_width(table: str) -> float:
    """Width in points of a table as LaTeX sets it: the widest cell of each column, and 6 points between columns."""
    assert table.count(r"\footnotesize\setlength{\tabcolsep}{3pt}") == 1
    columns: dict[int, float] = {}
    rows = table[table.index(r"\toprule") : table.index(r"\bottomrule")].splitlines()
    for row in rows:
        if not row.endswith(r" \\") or row.startswith(r"\multicolumn"):
            continue
        for index, cell in enumerate(row.removesuffix(r" \\").split(" & ")):
            title = re.fullmatch(r"\{\\scriptsize (?:\\shortstack\[r\]\{(.*)\}|(.*))\}", cell)
            lines = (title[1] or title[2]).split(r" \\ ") if title else [cell]
            width = max(printed(line.strip(), 7 if title else 8) for line in lines)
            columns[index] = max(columns.get(index, 0), width)
    return sum(columns.values()) + 6 * (len(columns) - 1)


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("proposed", ["360dvd", None])
def test_tables_fit_a_column_or_say_that_they_span_two(language, proposed):
    """With the methods of params.yaml and the questions of the study, as glyphs of Computer Modern print them."""
    criteria = [criterion.model_dump() for criterion in load_texts(language).criteria]
    rows = paired(planted(1, np.log([0.1, 0.2, 0.2, 0.5])), criteria=[criterion["id"] for criterion in criteria])
    votes = from_rows(rows, {"criteria": criteria})
    labels = tuple((method, LABELS[method]["label"]) for method in METHODS)
    text = tables(analyse(votes, Plan(proposed, 20, labels=labels)))
    found = re.findall(r"\\begin\{(table\*?)\}(.*?\\label\{tab:study-(\w+)\}.*?)\\end\{\1\}", text, re.DOTALL)
    assert [name for _, _, name in found] == ["shares", "paper", "pairs", "tests"]
    for environment, table, name in found:
        assert printed_width(table) <= (COLUMN if environment == "table" else PAGE), name
    environments = {name: environment for environment, _, name in found}
    assert environments["pairs"] == "table*"
    if proposed:
        assert environments["tests"] == "table"


@pytest.mark.parametrize(
    "text", [entry["label"] for entry in LABELS.values()] + ["Content distribution", "45.1–58.0", "WWW mmm", "100"]
)
def test_widths_by_counting_are_near_those_of_the_glyphs(text):
    assert _points(text, 8) == pytest.approx(printed(text.replace("–", "--"), 8), rel=0.25)


@pytest.mark.parametrize("rows", [[], [["a heading"]], [["", ""]]])
def test_a_table_of_next_to_nothing(rows):
    text = _table("A", "tab:x", ["", "$p$"], rows)
    assert text.startswith(r"\begin{table}")
    assert text.endswith(r"\end{table}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("head", [["Method", "Win rate, %"], [" ".join(["Method"] * 20), "Win rate, %"]])
def test_latex_compiles_a_table_of_hostile_names(tmp_path: Path, head: list[str]):
    rows = [row for name in NAMES for row in ([name], [name, name])]
    (tmp_path / "tables.tex").write_text(_table("A & B", "tab:x", head, rows))
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
    (tmp_path / "page.tex").write_text(page)
    command = ["pdflatex", "-draftmode", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
