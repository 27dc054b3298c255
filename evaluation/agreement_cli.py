"""`panobench agreement`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from core.errors import PanobenchError

DEFAULT_PARAMS = Path("params.yaml")


@click.command()
@click.argument("votes", type=click.Path(path_type=Path))
@click.argument("scores", nargs=-1, type=click.Path(path_type=Path))
@click.option("--drop-flagged", is_flag=True, help="Leave out raters whom the study's screening flagged.")
@click.option(
    "--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Behind each interval."
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file to write.  [default: agreement.json]")
@click.option(
    "--params", "params_file", type=click.Path(path_type=Path), help="Parameter file.  [default: params.yaml]"
)
def agreement(
    votes: Path,
    scores: tuple[Path, ...],
    drop_flagged: bool,
    resamples: int,
    out: Path | None,
    params_file: Path | None,
) -> None:
    """Say how well each metric agrees with the people of a study.

    VOTES is what `panobench study export` wrote (CSV or JSON); SCORES are the score folders of the same methods, by
    default those of params.yaml. For every criterion and metric: in how many votes the metric prefers what the rater
    preferred (a coin: 50 %), Kendall's tau with the order of the win rates, and intervals over raters and prompts; then
    the best metric and the best combination of all, judged on votes that had no part in choosing them.

    Controls never count, ties count for tau alone. With too few votes it says so, and gives no number.
    """
    import pandas as pd

    from core.files import write_json
    from evaluation.agreement import agreement as agree
    from evaluation.comparison import check_comparable, load_scored
    from evaluation.votes import read_votes

    if not scores:
        file = params_file or DEFAULT_PARAMS
        if not file.is_file():
            raise PanobenchError("give the score folders after the votes, or run where a params.yaml is")
        from core.params import load_params

        params = load_params(file)
        scores = tuple(params.outputs / "scores" / method for method in params.run.methods)
    methods = [load_scored(folder) for folder in scores]
    check_comparable(methods)
    duels = read_votes(votes, drop_flagged)
    seed = int(methods[0].settings["bootstrap"]["seed"])
    found = agree(duels, pd.concat([method.scores for method in methods]), resamples, seed=seed)
    out = out or Path("agreement.json")
    write_json(
        out, {"schema": 1, "votes": votes.name, "flagged": "left out" if drop_flagged else "kept", "criteria": found}
    )
    for criterion, entry in found.items():
        click.echo("\n".join(lines(criterion, entry)) + "\n")
    click.echo(f"everything: {out}")


def lines(criterion: str, entry: Mapping[str, Any]) -> list[str]:
    """A criterion for a terminal."""
    from evaluation.agreement import number, percent
    from evaluation.findings import CRITERIA

    head = f"{CRITERIA[criterion]}: {entry['votes']} duels ({entry['ties']} ties), {entry['raters']} raters, "
    shown = [head + f"{entry['prompts']} prompts"]
    if "too_few" in entry:
        return [*shown, f"  {entry['too_few']}; nothing is computed"]
    ranked = sorted(entry["metrics"].items(), key=lambda item: -(item[1]["accuracy"]["value"] or 0))
    width = max(len(name) for name, _ in ranked)
    shown += [
        f"  {name.ljust(width)}  accuracy {percent(row['accuracy'])}  tau {number(row['tau'])}" for name, row in ranked
    ]
    best, combination = entry["best"], entry["combination"]
    weights = ", ".join(f"{weight:.2f} {name}" for name, weight in combination["weights"].items()) or "none"
    return [
        *shown,
        f"  people foretell people: {percent(entry['people'])}",
        f"  best metric: {best['metric']}; chosen anew without the votes it is judged on: {percent(best['held_out'])}",
        f"  combination: {weights}; likewise: {percent(combination['held_out'])}",
    ]
