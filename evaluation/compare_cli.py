"""`panobench compare`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PanobenchError, did_you_mean
from evaluation.options import PARAMS, find_params, request_of, scoring_options

if TYPE_CHECKING:
    from evaluation.comparison import Scored


@click.command()
@click.argument("methods", nargs=-1, type=click.Path(path_type=Path))
@click.option("--videos", multiple=True, metavar="METHOD=FOLDER", help="Where a method's videos are; may be repeated.")
@click.option("--label", "labels", multiple=True, metavar="METHOD=TEXT", help="What to call a method; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: report]")
@scoring_options
@click.option(
    "--prompts-shown", type=click.IntRange(min=0), default=24, show_default=True, help="Prompts with pictures."
)
@click.option("--votes", type=click.Path(path_type=Path), help="Votes of a study of these methods: adds the agreement.")
def compare(
    methods: tuple[Path, ...],
    videos: tuple[str, ...],
    labels: tuple[str, ...],
    out: Path | None,
    params_file: Path | None,
    prompts_shown: int,
    votes: Path | None,
    **options: Any,
) -> None:
    """Put methods side by side in one HTML page, with intervals, videos, frames and seams.

    \b
      panobench compare my_method their_method --prompts prompts.csv     (folders of videos: scored first)
      panobench compare scores/my_method scores/their_method             (what `panobench score` wrote)
      panobench compare                                                  (the methods of params.yaml)

    METHODS are folders of videos (or their manifests), which are scored in the same way, into OUT/scores; or folders
    that `panobench score` wrote. Videos of all methods must share size, length and frame rate, or --resample says what
    to bring them to. A video that cannot be scored is named, the rest is compared, and the exit status is 1.

    The videos of scores/NAME are looked for in videos/NAME beside it; say where they are with --videos, or the page has
    the numbers only. Without METHODS the page goes to outputs/PROFILE/report.
    """
    from evaluation.comparison import load_scored
    from evaluation.page import Making
    from evaluation.report import build_report

    params = find_params(params_file)
    file = None if params is None else params_file or PARAMS
    label_of = {name: method.label for name, method in params.methods.items()} if params else {}
    scores = methods
    if not methods:
        if params is None:
            raise PanobenchError("give the folders to compare, or run where a params.yaml of panobench is")
        root = params.outputs
        scores = tuple(root / "scores" / method for method in params.run.methods)
        out = out or root / "report"
    label_of |= _pairs("--label", labels)
    video_of = _pairs("--videos", videos)
    out = out or Path("report")
    scores, made_of, problems = _scored(scores, out / "scores", options | {"params_file": params_file})
    video_of = {**made_of, **video_of}
    named = {_name(folder): folder for folder in scores}
    for option, given in (("--videos", video_of), ("--label", _pairs("--label", labels))):
        for name in given:
            if name not in named:
                hint = did_you_mean(name, list(named)) or f"; compared are {', '.join(named)}"
                raise PanobenchError(f"{option}: no method '{name}' among the scores{hint}")
    compared = [
        load_scored(folder, label_of.get(_name(folder)), video_of.get(_name(folder)) or _videos_beside(folder))
        for folder in scores
    ]
    headline = params.report.headline if params else {}
    command = shlex.join(["panobench", *sys.argv[1:]])
    making = Making(command, file, prompts_shown, headline, _agreement(votes, compared))
    comparison = build_report(compared, out, making)
    without = [method.label for method in compared if not method.videos]
    if without:
        click.echo(f"without pictures: {', '.join(without)} (name their folders with --videos METHOD=FOLDER)", err=True)
    click.echo(f"{len(compared)} methods, {len(comparison['prompts'])} prompts: {out / 'index.html'}")
    if problems:
        raise PanobenchError(f"{problems} videos were not scored (listed above); the page is of the rest")


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


def _scored(
    folders: tuple[Path, ...], out: Path, options: dict[str, Any]
) -> tuple[tuple[Path, ...], dict[str, str], int]:
    """Score what is not scored yet.

    Returns:
        The score folders of all, method -> videos of those that were scored now, and how many videos were not.
    """
    waiting = [folder for folder in folders if not (folder / "metrics.json").is_file() and _holds_videos(folder)]
    if not waiting:
        return folders, {}, 0
    from evaluation.run import check_alike, method_names, prompts_for, run

    request = request_of(**options)
    names = method_names(waiting)
    check_alike(waiting, names, request)
    scored: list[Path] = []
    videos: dict[str, str] = {}
    problems = 0
    for folder in folders:
        if folder not in waiting:
            scored.append(folder)
            continue
        name = names[folder]
        outcome = run(folder, replace(request, prompts=prompts_for(folder, request)), out / name, name)
        assert outcome is not None  # one process
        problems += len(outcome.problems)
        videos[name] = str(folder)
        scored.append(outcome.out)
    return tuple(scored), videos, problems


def _holds_videos(source: Path) -> bool:
    """Whether this is a manifest or a folder of videos, not scores that are not there yet."""
    from evaluation.manifest import MANIFEST_NAME, videos_in

    if source.is_dir():
        return (source / MANIFEST_NAME).is_file() or bool(videos_in(source))
    return source.suffix == ".jsonl"


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
