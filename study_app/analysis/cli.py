"""`panobench study analyse` and `panobench study power`."""

from pathlib import Path

import click


@click.command()
@click.argument("export", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Study bundle; by default the newest outputs/*/study.")
@click.option(
    "--database", help="SQLite file or SQLAlchemy URL; by default PANOBENCH_STUDY_DB, else what votes/ holds."
)
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="key.json, if it is not in the bundle.")
@click.option("--params", "params_path", type=click.Path(path_type=Path), help="YAML file with an `analysis` section.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: study_analysis beside the bundle]")
@click.option("--proposed", help="Method whose comparisons with the others are the primary tests.")
@click.option("--label", "labels", multiple=True, metavar="METHOD=TEXT", help="What to call a method; may be repeated.")
@click.option(
    "--resamples", type=click.IntRange(100, 100_000), help="Resamples behind every interval.  [default: 2000]"
)
def analyse(
    export: Path | None,
    bundle: Path | None,
    database: str | None,
    key_path: Path | None,
    params_path: Path | None,
    out: Path | None,
    proposed: str | None,
    labels: tuple[str, ...],
    resamples: int | None,
) -> None:
    r"""Turn votes into shares with intervals, tests and figures: HTML, JSON and LaTeX.

    EXPORT is a .csv or .json that `panobench study export` wrote; without it the database of the study is read, and
    where there is no database, an export in votes/ that is named after the study. Both give the same numbers. Without
    any votes the page says so.

    \b
      panobench study analyse
      panobench study analyse votes.csv --proposed 360dvd --out analysis
    """
    from study_app.analysis.run import analyse_votes, default_out, find_votes
    from study_app.params import parse_labels, read_analysis_params

    params, seed, named = read_analysis_params(params_path)
    given = params.model_copy(update={"resamples": resamples} if resamples else {})
    votes, source, folder = find_votes(export, bundle, database, key_path)
    out = out or default_out(folder)
    result = analyse_votes(votes, given, seed, proposed, named | parse_labels(labels), out)
    study = result["study"]
    click.echo(f"{study['answers']} scored answers of {study['raters']} raters, from {source}")
    for sentence in result["statements"]:
        click.echo(f"- {sentence}")
    click.echo(f"{out / 'index.html'}")
