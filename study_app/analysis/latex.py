"""The tables of the analysis for a paper: LaTeX with booktabs."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.latex import escape
from study_app.analysis.wording import count, p_value, percent, spread


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
        rows.append([method["label"], *cells])
        rows.append(["", *(spread(entry["shares"][name]) for entry in criteria.values())])
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
        [label, *(f"{shares[criterion][name]:.1f}" for criterion in shares)]
        for name, label in result["paper"]["methods"].items()
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
    head = ["Criterion", "Methods", "Wins", "Ties", "Losses", "Win rate, %", "Interval"]
    return _table("Raw answers of each pair; a tie is half a win.", "tab:study-pairs", head, _grouped(rows), "llrrrrr")


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
    return _table(
        caption, "tab:study-tests", ["Criterion", "Methods", "Raters", "$p$", "$p$, Holm"], _grouped(rows), "llrrr"
    )


def _table(caption: str, label: str, head: Sequence[str], rows: Sequence[Sequence[str]], columns: str = "") -> str:
    set_rows = [" & ".join(escape(cell) for cell in row) + r" \\" for row in rows]
    titles = " & ".join(cell if cell.startswith("$") else _stacked(cell) for cell in head)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{escape(caption)}}}\label{{{label}}}",
            rf"\begin{{tabular}}{{{columns or 'l' + 'r' * (len(head) - 1)}}}",
            r"\toprule",
            titles + r" \\",
            r"\midrule",
            *set_rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _stacked(title: str) -> str:
    """A column's title on two lines, so that the table fits between the margins of a page."""
    lines = [escape(part) for part in title.split(maxsplit=1)]
    return lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r" \\ ".join(lines) + "}"


def _grouped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows whose first cell stands only where it changes."""
    before = ["", *(row[0] for row in rows)]
    return [["" if row[0] == last else row[0], *row[1:]] for last, row in zip(before, rows, strict=False)]
