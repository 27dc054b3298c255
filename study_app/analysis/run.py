"""Votes to the files of the analysis: what `panobench study analyse` does, and the stage of the pipeline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import PanobenchError
from study_app.analysis.analyse import analyse
from study_app.analysis.plan import Plan
from study_app.analysis.report import write_report
from study_app.analysis.sources import read_study
from study_app.analysis.votes import Votes, read_export
from study_app.locate import find_bundle
from study_app.params import AnalysisParams


def find_votes(
    export: Path | None, bundle: Path | None, database: str | None, key_path: Path | None
) -> tuple[Votes, str, Path | None]:
    """The votes, where they came from, and the bundle if there was one.

    Raises:
        PanobenchError: they cannot be read, or both an export and a study are named.
    """
    if export is not None:
        if database or bundle or key_path:
            raise PanobenchError("an export says everything: name either it, or --bundle, --database and --key")
        return read_export(export), str(export), None
    folder = bundle if bundle is not None else find_bundle()
    votes, source = read_study(folder, database, key_path)
    return votes, source, folder


def analyse_votes(
    votes: Votes, params: AnalysisParams, seed: int, proposed: str | None, labels: Mapping[str, str], out: Path
) -> dict[str, Any]:
    """Analyse, and write the report to ``out``.

    Args:
        votes: of one study.
        params: of the `analysis` section; its proposed method counts only where it is among the compared ones.
        seed: of the resampling.
        proposed: named on the command line; an error if it is not compared.
        labels: what methods are called.
        out: folder.

    Returns:
        What ``analysis.json`` holds.
    """
    usual = params.proposed if params.proposed in votes.methods else None
    plan = Plan(proposed or usual, params.resamples, params.level, seed, tuple(sorted(labels.items())))
    result = analyse(votes, plan)
    write_report(result, out)
    return result


def default_out(bundle: Path | None) -> Path:
    """`study_analysis` beside the bundle, or in the working directory if the votes came alone."""
    return Path("study_analysis") if bundle is None else Path(bundle).with_name("study_analysis")
