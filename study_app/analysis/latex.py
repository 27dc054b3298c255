"""The tables of the analysis for a paper: LaTeX with booktabs."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.latex import escape, labelled, stacked, table
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
        cells = [escape(percent(entry, name)) for entry in criteria.values()]
        ends = [escape(spread(entry["shares"][name])) for entry in criteria.values()]
        rows += labelled(method["label"], cells, ends)
    kind = "best-of-four choices" if result["study"]["mode"] == "best-of-four" else "Luce shares of a Davidson model"
    caption = (
        f"User study: {kind} in percent, with {level} % intervals (bootstrap over raters and prompts); "
        f"{count(result['study']['raters'], 'rater')}, {count(result['study']['prompts'], 'prompt')}."
    )
    return table(caption, "tab:study-shares", _head("Method", *(entry["title"] for entry in criteria.values())), rows)


def _paper(result: Mapping[str, Any]) -> str:
    shares = result["paper"]["percent"]
    titles = [result["criteria"].get(name, {}).get("title", name) for name in shares]
    rows = [
        row
        for name, label in result["paper"]["methods"].items()
        for row in labelled(label, [f"{shares[criterion][name]:.1f}" for criterion in shares])
    ]
    return table(result["paper"]["label"] + ", in percent.", "tab:study-paper", _head("Method", *titles), rows)


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
    head = _head("Methods", "Wins", "Ties", "Losses", "Win rate, %", "Interval")
    return table("Raw answers of each pair; a tie is half a win.", "tab:study-pairs", head, _grouped(rows))


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
    return table(caption, "tab:study-tests", [*_head("Methods", "Raters"), ["$p$"], ["$p$, Holm"]], _grouped(rows))


def _head(*titles: str) -> list[list[str]]:
    return [stacked(title) for title in titles]


def _grouped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows of texts in LaTeX, without their first cell, which becomes a heading above them where it changes."""
    lines: list[list[str]] = []
    before = None
    for title, *cells in rows:
        lines += [[escape(title)]] if title != before else []
        lines.append([escape(cell) for cell in cells])
        before = title
    return lines
