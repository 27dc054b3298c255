"""How wide LaTeX sets a table, measured with the glyphs of Computer Modern: there need be no LaTeX."""

import re
import unicodedata

import matplotlib
from matplotlib.ft2font import FT2Font, LoadFlags

# Points, in a paper set in 10 points on US letter: one of article's two columns, both of them, and article's only one.
COLUMN, BOTH, PAGE = 229.9, 469.8, 345.0
# A dash is as wide as a digit, an arrow and a sign of less as a plus; what prints nothing goes.
_ALIKE = (
    (r"\\([&%$#_{}])", r"\1"), ("--", "0"), (r"\$(?:[<>]|\\to|\\times|\\approx)\$", "+"),
    (r"\$\\(?:up|down)arrow\$", "0"), (r"\\textbf\{(.*?)\}", r"\1"), (r"\{\[\}", "["), (r"\$(.*?)\$", r"\1"),
)  # fmt: skip


def line_width(latex: str, size: float) -> float:
    """Width in points of a line."""
    for written, like in _ALIKE:
        latex = re.sub(written, like, latex)
    assert "\\" not in latex, latex
    text = unicodedata.normalize("NFD", latex).encode("ascii", "ignore").decode()  # an accent adds no width
    font = FT2Font(f"{matplotlib.get_data_path()}/fonts/ttf/cmr10.ttf")
    font.set_size(size, 72)
    font.set_text(text, flags=LoadFlags.NO_HINTING)
    return font.get_width_height()[0] / 64


def table_width(table: str) -> float:
    """Width in points of a table of ``core.latex``: the widest line of each column, and 6 points between columns."""
    assert table.count(r"\footnotesize\setlength{\tabcolsep}{3pt}") == 1
    columns: dict[int, float] = {}
    for row in table[table.index(r"\toprule") : table.index(r"\bottomrule")].splitlines():
        if not row.endswith(r" \\") or row.startswith(r"\multicolumn"):
            continue
        for index, cell in enumerate(row.removesuffix(r" \\").split(" & ")):
            title = re.fullmatch(r"\{\\scriptsize (?:\\shortstack\[r\]\{(.*)\}|(.*))\}", cell)
            lines = (title[1] or title[2]).split(r" \\ ") if title else [cell]
            width = max(line_width(line.strip(), 7 if title else 8) for line in lines)
            columns[index] = max(columns.get(index, 0), width)
    return sum(columns.values()) + 6 * (len(columns) - 1)
