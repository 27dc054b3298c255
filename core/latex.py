"""Text and tables in LaTeX: names of methods and prompts are anybody's, and a table has to compile and to fit."""

import re
import textwrap
from collections.abc import Sequence

COLUMN = 229.0  # points: a column of article's two on US letter; conferences' are 237 to 252
TEXT_SIZE, TITLE_SIZE = 8.0, 7.0  # points: \footnotesize and \scriptsize of a paper set in 10 points
GAP = 6.0  # points between columns
LONG = 24  # characters on a line of a row's label
# How wide a character is in Computer Modern, for one of size 1; capitals take 0.75, and all others half of it.
_WIDTHS = (
    dict.fromkeys(" !'()|,.:;[]fijlrt", 0.36) | dict.fromkeys("bdhknpqu", 0.56) | dict.fromkeys("%&+<=>@_~mw", 0.8)
)
_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "*": "{*}",  # the last two would belong to the \\ of the row before
    "≈": r"$\approx$", "→": r"$\to$", "<": r"$<$", ">": r"$>$", "–": "--", "×": r"$\times$",
}  # fmt: skip


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands, in one line."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def table(caption: str, label: str, head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> str:
    """A table as narrow as can be read; it spans both columns of a two-column paper where one cannot hold it.

    Needs the package booktabs. The first column is set to the left, the others to the right.

    Args:
        caption: text.
        label: for references.
        head: the lines of each column's title, in LaTeX.
        rows: cells in LaTeX; a row of one cell is a heading over the rows below it.
    """
    across = rf"\multicolumn{{{len(head)}}}{{@{{}}l@{{}}}}"
    titles = [lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r" \\ ".join(lines) + "}" for lines in head]
    environment = "table" if _width(head, rows) <= COLUMN else "table*"
    return "\n".join(
        [
            rf"\begin{{{environment}}}",
            rf"\centering\footnotesize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            rf"\caption{{{escape(caption)}}}\label{{{label}}}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(head) - 1)}@{{}}}}",
            r"\toprule",
            " & ".join(rf"{{\scriptsize {title}}}" for title in titles) + r" \\",
            r"\midrule",
            *(rf"{across}{{\itshape {row[0]}}} \\" if len(row) == 1 else " & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\end{{{environment}}}",
        ]
    )


def stacked(title: str) -> list[str]:
    """A title on two lines if it has two words, so that its column is no wider than its numbers need."""
    return [escape(part) for part in title.split(maxsplit=1)] or [""]


def labelled(label: str, *rows: Sequence[str]) -> list[list[str]]:
    """Rows with a label (text) before them; a long one goes on in the rows below the first."""
    lines = [escape(line) for line in textwrap.wrap(label, LONG)] or [""]
    lines += [""] * (len(rows) - len(lines))
    blank = [""] * len(rows[0])
    return [[line, *(rows[index] if index < len(rows) else blank)] for index, line in enumerate(lines)]


def _width(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> float:
    """How wide a table will be, in points."""
    columns = [[_points(line, TITLE_SIZE) for line in lines] for lines in head]
    for row in rows:
        for column, cell in zip(columns, row if len(row) == len(head) else [], strict=False):
            column.append(_points(cell, TEXT_SIZE))
    return sum(map(max, columns)) + GAP * (len(head) - 1)


def _points(latex: str, size: float) -> float:
    """How wide a line of LaTeX will be, by its characters."""
    text = re.sub(r"\\text[a-z]+\{\}|\\(?:to|approx|times|uparrow|downarrow)\b", "=", latex)
    text = re.sub(r"\\[a-zA-Z]+|[\\{}$]", "", text.replace("--", "0"))
    return size * sum(_WIDTHS.get(c, 0.75 if c.isupper() else 0.5) for c in text)
