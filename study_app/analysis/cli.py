"""`panobench study analyse` and `panobench study power`."""

from pathlib import Path

import click

DEFAULT_PARAMS = Path("params.yaml")


@click.command(short_help="Turn votes into shares with intervals, and tests.")
@click.argument("export", required=False, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="Study bundle; by default the newest outputs/*/study.")
@click.option(
    "--database", help="SQLite file or SQLAlchemy URL; by default PANOBENCH_STUDY_DB, else what votes/ holds."
)
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="key.json, if it is not in the bundle.")
@click.option(
    "--params",
    "params_path",
    type=click.Path(path_type=Path),
    help="YAML file with an `analysis` section and the methods' labels.  [default: params.yaml, if there is one]",
)
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
    """Turn votes into shares with intervals, tests and figures: HTML, JSON and LaTeX.

    EXPORT is a .csv or .json that `panobench study export` wrote; without it the database of the study is read, and
    where there is no database, an export in votes/ that is named after the study. Both give the same numbers. Without
    any votes the page says so.

    \b
      panobench study analyse
      panobench study analyse votes.csv --proposed 360dvd --out analysis
    """
    from study_app.analysis.run import analyse_votes, default_out, find_votes
    from study_app.params import parse_labels, read_analysis_params

    if params_path is None and DEFAULT_PARAMS.is_file():
        params_path = DEFAULT_PARAMS
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


class _Numbers(click.ParamType):
    """Numbers with commas between."""

    def __init__(self, kind: type, low: float) -> None:
        self.kind, self.low, self.name = kind, low, "N,N,..."

    def convert(self, value, param, ctx):
        """The list of numbers, each above ``low``."""
        if isinstance(value, list):
            return value
        try:
            numbers = [self.kind(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"'{value}': expected numbers with commas between, as 24,32,40", param, ctx)
        if not all(number > self.low for number in numbers):
            self.fail(f"'{value}': every number must be above {self.low}", param, ctx)
        return numbers


@click.command(short_help="Simulate how many raters and prompts are needed.")
@click.option("--raters", type=_Numbers(int, 1), default="16,24,31,40", show_default=True, help="Raters who finish.")
@click.option("--prompts", type=_Numbers(int, 0), default="8,16", show_default=True, help="Prompts in the study.")
@click.option(
    "--mode", type=click.Choice(["half", "full", "best-of-four"]), default="half", show_default=True, help="Design."
)
@click.option(
    "--shares",
    type=_Numbers(float, 0),
    help="Expected Luce shares, the proposed method last.  [default: the paper's of graphics, its closest criterion]",
)
@click.option(
    "--win-rate", type=click.FloatRange(0.5, 0.999), help="Instead: decided comparisons that the proposed method wins."
)
@click.option("--methods", type=click.IntRange(2, 6), default=4, show_default=True, help="With --win-rate: how many.")
@click.option("--tie-rate", type=click.FloatRange(0, 0.95), default=0.2, show_default=True, help="Ties among equals.")
@click.option("--rater-sd", type=click.FloatRange(0, 3), default=0.5, show_default=True, help="Of log strengths.")
@click.option("--prompt-sd", type=click.FloatRange(0, 3), default=0.5, show_default=True, help="Of log strengths.")
@click.option("--criteria", type=click.IntRange(1, 10), default=5, show_default=True, help="Questions per trial.")
@click.option("--target", type=click.FloatRange(0.05, 0.99), default=0.8, show_default=True, help="Power wanted.")
@click.option("--level", type=click.FloatRange(0.001, 0.2), default=0.05, show_default=True, help="Of the tests.")
@click.option("--simulations", type=click.IntRange(20, 20_000), default=400, show_default=True, help="Per design.")
@click.option("--seed", type=click.IntRange(0), default=360, show_default=True, help="Of the simulation.")
@click.option("--out", type=click.Path(path_type=Path), default="study_power", show_default=True, help="Folder.")
def power(
    raters: list[int],
    prompts: list[int],
    mode: str,
    shares: list[float] | None,
    win_rate: float | None,
    methods: int,
    tie_rate: float,
    rater_sd: float,
    prompt_sd: float,
    criteria: int,
    target: float,
    level: float,
    simulations: int,
    seed: int,
    out: Path,
) -> None:
    """Simulate how many raters and prompts a study needs.

    Votes are drawn through the study's own design and tested as `panobench study analyse` does. Power: the chance that
    the proposed method is found better than the strongest other one, after Holm's correction. After ± stands the Monte
    Carlo standard error. Writes power.json, power.svg and power.pdf.

    \b
      panobench study power --win-rate 0.65 --raters 24,32,40
      panobench study power --shares 10,15,25,50 --mode best-of-four
    """
    from tqdm import tqdm

    from core.errors import PanobenchError
    from study_app.analysis import paper
    from study_app.analysis.power import World, from_win_rate, grid, smallest
    from study_app.analysis.power_report import table, write_power

    if shares and win_rate:
        raise PanobenchError("give either --shares or --win-rate")
    chosen = from_win_rate(win_rate, methods) if win_rate else tuple(shares or paper.PRINTED["graphics"])
    if len(chosen) < 2:
        raise PanobenchError(f"--shares {','.join(map(str, chosen))}: a study compares two methods or more")
    world = World(chosen, tie_rate, 0.0, rater_sd, prompt_sd, criteria)
    with tqdm(total=len(raters) * len(prompts), desc="simulate", unit="design", dynamic_ncols=True) as bar:
        rows = grid(world, raters, prompts, mode, bar.update, simulations=simulations, level=level, seed=seed)
    settings = {"mode": mode, "shares": chosen, "tie_rate": tie_rate, "rater_sd": rater_sd, "prompt_sd": prompt_sd}
    more = {"criteria": criteria, "target": target, "level": level, "simulations": simulations, "seed": seed}
    write_power(out, settings | more, rows)
    click.echo(table(rows))
    enough = smallest(rows, target)
    if enough is None:
        click.echo(f"none of these designs has a power of {target:g} beyond doubt: try more raters or prompts")
    else:
        click.echo(
            f"the smallest of these with a power of {target:g}: {enough['raters']} raters, {enough['prompts']} prompts"
        )
    click.echo(f"{out / 'power.svg'}")
