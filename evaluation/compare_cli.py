"""`panobench compare`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PanobenchError, did_you_mean

if TYPE_CHECKING:
    from core.params import Params
    from evaluation.comparison import Scored

DEFAULT_PARAMS = Path("params.yaml")


@click.command()
@click.argument("scores", nargs=-1, type=click.Path(path_type=Path))
@click.option("--videos", multiple=True, metavar="METHOD=FOLDER", help="Where a method's videos are; may be repeated.")
@click.option("--label", "labels", multiple=True, metavar="METHOD=TEXT", help="What to call a method; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: report]")
@click.option(
    "--params", "params_file", type=click.Path(path_type=Path), help="Parameter file.  [default: params.yaml]"
)
@click.option(
    "--prompts-shown", type=click.IntRange(min=0), default=24, show_default=True, help="Prompts with pictures."
)
@click.option("--votes", type=click.Path(path_type=Path), help="Votes of a study of these methods: adds the agreement.")
def compare(
    scores: tuple[Path, ...],
    videos: tuple[str, ...],
    labels: tuple[str, ...],
    out: Path | None,
    params_file: Path | None,
    prompts_shown: int,
    votes: Path | None,
) -> None:
    """Put scored methods side by side in one HTML page, with intervals, videos, frames and seams.

    SCORES are folders that `panobench score` wrote. Without any, the methods of params.yaml are compared, and the page
    goes to outputs/PROFILE/report. The videos of scores/NAME are looked for in videos/NAME beside it; say where they
    are with --videos, or the page has the numbers only.
    """
    from evaluation.comparison import load_scored
    from evaluation.page import Making
    from evaluation.report import build_report

    file = params_file or (DEFAULT_PARAMS if DEFAULT_PARAMS.is_file() else None)
    params = _load(file) if file else None
    label_of = {name: method.label for name, method in params.methods.items()} if params else {}
    if not scores:
        if params is None:
            raise PanobenchError("give the score folders to compare, or run where a params.yaml is")
        root = params.outputs
        scores = tuple(root / "scores" / method for method in params.run.methods)
        out = out or root / "report"
    label_of |= _pairs("--label", labels)
    video_of = _pairs("--videos", videos)
    named = {_name(folder): folder for folder in scores}
    for option, given in (("--videos", video_of), ("--label", _pairs("--label", labels))):
        for name in given:
            if name not in named:
                hint = did_you_mean(name, list(named)) or f"; compared are {', '.join(named)}"
                raise PanobenchError(f"{option}: no method '{name}' among the scores{hint}")
    methods = [
        load_scored(folder, label_of.get(_name(folder)), video_of.get(_name(folder)) or _videos_beside(folder))
        for folder in scores
    ]
    headline = params.report.headline if params else {}
    command = shlex.join(["panobench", *sys.argv[1:]])
    out = out or Path("report")
    comparison = build_report(methods, out, Making(command, file, prompts_shown, headline, _agreement(votes, methods)))
    without = [method.label for method in methods if not method.videos]
    if without:
        click.echo(f"without pictures: {', '.join(without)} (name their folders with --videos METHOD=FOLDER)", err=True)
    click.echo(f"{len(methods)} methods, {len(comparison['prompts'])} prompts: {out / 'index.html'}")


def _agreement(votes: Path | None, methods: list[Scored]) -> dict[str, Any] | None:
    """Agreement of the metrics with the votes, if there are votes."""
    if votes is None:
        return None
    import pandas as pd

    from evaluation.agreement import agreement
    from evaluation.votes import read_votes

    seed = int(methods[0].settings["bootstrap"]["seed"])
    scores = pd.concat([method.scores for method in methods])
    return {"criteria": agreement(read_votes(votes), scores, seed=seed)}


def _load(file: Path) -> Params:
    from core.params import load_params

    return load_params(file)


def _name(folder: Path) -> str:
    """The method that a score folder is of."""
    from core.files import read_json

    return str(read_json(folder / "metrics.json").get("method", folder.name))


def _videos_beside(folder: Path) -> Path | None:
    beside = folder.resolve().parent.parent / "videos" / folder.resolve().name
    return beside if folder.resolve().parent.name == "scores" and beside.is_dir() else None


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise PanobenchError(f"{option}: expected METHOD=VALUE, got '{text}'")
        pairs[name] = value
    return pairs
