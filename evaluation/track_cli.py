"""`panobench track`."""

import os
from pathlib import Path

import click

from core.errors import PanobenchError


@click.command()
@click.option("--outputs", type=click.Path(path_type=Path), help="What to log.  [default: outputs/PROFILE]")
@click.option(
    "--params",
    "params_file",
    type=click.Path(path_type=Path),
    default=Path("params.yaml"),
    show_default=True,
    help="Parameter file.",
)
@click.option("--rebuild", is_flag=True, help="Delete the runs of these files, and log them again.")
def track(outputs: Path | None, params_file: Path, rebuild: bool) -> None:
    """Log (or rebuild) the MLflow runs from the files.

    One parent run, a child per trained model with its loss curve, a child per method with its metrics, intervals,
    per-video table, contact sheet and videos. The database is mlflow.db in DVC's root, unless MLFLOW_TRACKING_URI
    names a server. Nothing is logged twice.
    """
    from core.files import write_json
    from core.params import load_params
    from evaluation.track import track as log

    outputs = outputs or load_params(params_file).outputs
    if not (outputs / "report" / "comparison.json").is_file():
        raise PanobenchError(f"{outputs / 'report' / 'comparison.json'}: not there yet; run `panobench compare` first")
    uri = os.environ.get("MLFLOW_TRACKING_URI") or None
    made = log(dvc_root(), outputs, params_file, rebuild, uri)
    write_json(outputs / "mlflow.json", {key: value for key, value in made.items() if key != "new"})
    count = len(made["runs"]) + 1
    click.echo(f"{count} runs {'logged' if made['new'] else 'are there already'}, experiment {made['experiment']}")
    if uri is None:
        click.echo(f"look at them: mlflow ui --backend-store-uri {made['tracking']}")


def dvc_root() -> Path:
    """Where ``.dvc`` is: DVC says so to the stages that it runs; else it is searched upwards; else here."""
    given = os.environ.get("DVC_ROOT")
    if given:
        return Path(given)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)
