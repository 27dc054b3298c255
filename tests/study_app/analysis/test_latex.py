"""The study's tables for a paper fit it."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from study_app.analysis.analyse import analyse
from study_app.analysis.latex import _grouped, tables
from study_app.analysis.plan import Plan
from study_app.analysis.votes import from_rows
from study_app.texts import load_texts
from tests.printed import COLUMN, PAGE, table_width
from tests.study_app.analysis.ballots import METHODS, paired, planted

LABELS = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8"))["methods"]


def test_the_first_cell_becomes_a_heading_where_it_changes():
    rows = [["a_", "1", "x"], ["a_", "2", "x"], ["b", "3", "x"], ["a_", "4", "%"]]
    assert _grouped(rows) == [[r"a\_"], ["1", "x"], ["2", "x"], ["b"], ["3", "x"], [r"a\_"], ["4", r"\%"]]
    assert _grouped([]) == []


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("proposed", ["360dvd", None])
def test_tables_fit_a_column_or_say_that_they_span_two(language, proposed):
    """With the methods of params.yaml and the questions of the study."""
    criteria = [criterion.model_dump() for criterion in load_texts(language).criteria]
    rows = paired(planted(1, np.log([0.1, 0.2, 0.2, 0.5])), criteria=[criterion["id"] for criterion in criteria])
    votes = from_rows(rows, {"criteria": criteria})
    labels = tuple((method, LABELS[method]["label"]) for method in METHODS)
    text = tables(analyse(votes, Plan(proposed, 20, labels=labels)))
    found = re.findall(r"\\begin\{(table\*?)\}(.*?\\label\{tab:study-(\w+)\}.*?)\\end\{\1\}", text, re.DOTALL)
    assert [name for _, _, name in found] == ["shares", "paper", "pairs", "tests"]
    for environment, table, name in found:
        assert table_width(table) <= (COLUMN if environment == "table" else PAGE), name
    environments = {name: environment for environment, _, name in found}
    assert environments["pairs"] == "table*"
    if proposed:
        assert environments["tests"] == "table"
