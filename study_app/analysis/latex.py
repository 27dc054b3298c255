"""The tables of the analysis for a paper: LaTeX with booktabs."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from core.latex import escape
from study_app.analysis.wording import count, p_value, percent, spread

COLUMN = 229.0  # points: a column of article's two on US letter; conferences' are 237 to 252
TEXT_SIZE, TITLE_SIZE = 8.0, 7.0  # points: \footnotesize and \scriptsize of a paper set in 10 points
GAP = 6.0  # points between columns
LONG = 24  # characters on a line of a method's name
# Characters of about 0.35 and 0.78 of the size; capitals are wide, all others take half of it.
NARROW, WIDE = " !'()|,.:;[]fijlrt", "%&+<=>@_~mw"


def tables(result: Mapping[str, Any]) -> str:
    r"""All tables as one file to \\input; a comment says what there is none of."""
    lines = [f"% panobench study analyse, study {result['study']['id']}. Needs \\usepackage{{booktabs}}."]
    lines += [f"% {' '.join(sentence.split())}" for sentence in result["statements"]]
    if result["status"] == "ok":
        lines += [_shares(result), _paper(result), _pairs(result), _tests(result)]
    return "\n".join(lines) + "\n"


def _shares(result: Mapping[str, Any]) -> str:
    criteria = result["criteria"]
    level = f"{100 * result['plan']['level']:g}"
    rows = []
    for method in result["methods"]:
        name = method["name"]
        cells = [percent(entry, name) for entry in criteria.values()]
        rows += _labelled(method["label"], cells, [spread(entry["shares"][name]) for entry in criteria.values()])
    kind = "best-of-four choices" if result["study"]["mode"] == "best-of-four" else "Luce shares of a Davidson model"
    caption = (
        f"User study: {kind} in percent, with {level} % intervals (bootstrap over raters and prompts); "
        f"{count(result['study']['raters'], 'rater')}, {count(result['study']['prompts'], 'prompt')}."
    )
    return _table(caption, "tab:study-shares", ["Method", *(entry["title"] for entry in criteria.values())], rows)


def _paper(result: Mapping[str, Any]) -> str:
    shares = result["paper"]["percent"]
    titles = [result["criteria"].get(name, {}).get("title", name) for name in shares]
    rows = [
        row
        for name, label in result["paper"]["methods"].items()
        for row in _labelled(label, [f"{shares[criterion][name]:.1f}" for criterion in shares])
    ]
    return _table(result["paper"]["label"] + ", in percent.", "tab:study-paper", ["Method", *titles], rows)


def _pairs(result: Mapping[str, Any]) -> str:
    label = {method["name"]: method["label"] for method in result["methods"]}
    rows = [
        [
            entry["title"],
            f"{label[row['a']]} / {label[row['b']]}",
            *(str(row[name]) for name in ("wins", "ties", "losses")),
            "–" if row["rate"]["value"] is None else f"{100 * row['rate']['value']:.0f}",
            spread(row["rate"]),
        ]
        for entry in result["criteria"].values()
        for row in entry["pairs"]
    ]
    head = ["Methods", "Wins", "Ties", "Losses", "Win rate, %", "Interval"]
    return _table("Raw answers of each pair; a tie is half a win.", "tab:study-pairs", head, _grouped(rows))


def _tests(result: Mapping[str, Any]) -> str:
    label = {method["name"]: method["label"] for method in result["methods"]}
    family = "primary" if result["tests"]["primary"] else "exploratory"
    rows = [
        [
            result["criteria"][test["criterion"]]["title"],
            f"{label[test['a']]} / {label[test['b']]}",
            str(test["raters"]),
            p_value(test["p"]),
            p_value(test["p_holm"]),
        ]
        for test in result["tests"][family]
    ]
    caption = f"{family.capitalize()} tests: exact sign flips over raters, Holm for {len(rows)}."
    return _table(caption, "tab:study-tests", ["Methods", "Raters", "$p$", "$p$, Holm"], _grouped(rows))


def _table(caption: str, label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as narrow as can be read; it spans both columns of a two-column paper where one cannot hold it.

    Args:
        caption: text.
        label: for references.
        head: titles of the columns, text or (where it begins with a dollar) LaTeX.
        rows: texts; a row of one cell is a heading over the rows below it.
    """
    across = rf"\multicolumn{{{len(head)}}}{{@{{}}l@{{}}}}"
    environment = "table" if _width(head, rows) <= COLUMN else "table*"
    return "\n".join(
        [
            rf"\begin{{{environment}}}",
            rf"\centering\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            rf"\caption{{{escape(caption)}}}\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(head) - 1)}@{{}}}}",
            r"\toprule",
            " & ".join(map(_title, head)) + r" \\",
            r"\midrule",
            *(
                rf"{across}{{\itshape {escape(row[0])}}} \\" if len(row) == 1 else " & ".join(map(escape, row)) + r" \\"
                for row in rows
            ),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{environment}}}",
        ]
    )


def _lines(title: str) -> list[str]:
    """A column's title on two lines if it has two words, so that its column is no wider than its numbers need."""
    return [title] if title.startswith("$") else title.split(maxsplit=1) or [""]


def _title(title: str) -> str:
    """A column's title in LaTeX; one that begins with a dollar is LaTeX already."""
    lines = [line if line.startswith("$") else escape(line) for line in _lines(title)]
    text = lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r" \\ ".join(lines) + "}"
    return rf"{{\scriptsize {text}}}"


def _labelled(label: str, *rows: Sequence[str]) -> list[list[str]]:
    """Rows with a label before them; a long one goes on in the rows below the first."""
    lines = textwrap.wrap(label, LONG) or [""]
    lines += [""] * (len(rows) - len(lines))
    blank = [""] * len(rows[0])
    return [[line, *(rows[index] if index < len(rows) else blank)] for index, line in enumerate(lines)]


def _grouped(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Rows without their first cell, which becomes a heading above them where it changes."""
    lines: list[Sequence[str]] = []
    before = None
    for title, *cells in rows:
        lines += [cells] if title == before else [[title], cells]
        before = title
    return lines


def _width(head: Sequence[str], rows: Sequence[Sequence[str]]) -> float:
    """How wide a table will be, in points."""
    columns = [[_points(line, TITLE_SIZE) for line in _lines(title)] for title in head]
    for row in rows:
        for column, cell in zip(columns, row if len(row) == len(head) else [], strict=False):
            column.append(_points(cell, TEXT_SIZE))
    return sum(map(max, columns)) + GAP * (len(head) - 1)


def _points(text: str, size: float) -> float:
    """How wide a text will be in Computer Modern, by three classes of characters."""
    return size * sum(0.35 if c in NARROW else 0.78 if c in WIDE or c.isupper() else 0.5 for c in text)
