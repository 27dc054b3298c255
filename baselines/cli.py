"""`panobench recipes` and `panobench generate`."""

from __future__ import annotations

from pathlib import Path

import click

from core.cli import one_at_a_time
from core.params import load_params

_params_option = click.option(
    "--params", "params_file", default="params.yaml", show_default=True, type=click.Path(path_type=Path),
    help="Parameter file of the profile.",
)  # fmt: skip


@click.command()
@_params_option
def recipes(params_file: Path) -> None:
    """Resolve every method of run.methods into the switches and weights it uses."""
    params = load_params(params_file)
    from baselines.recipes import write_recipes

    for path in write_recipes(params):
        click.echo(f"panobench: wrote {path}")


@click.command()
@click.argument("method")
@_params_option
def generate(method: str, params_file: Path) -> None:
    """Generate the prompt set's videos with METHOD; a killed run goes on where it stopped."""
    params = load_params(params_file)
    from baselines.generate import generate as run

    with one_at_a_time(params, f"generate@{method}"):
        click.echo(f"panobench: wrote {run(params, method)}")
