"""`panobench fetch`: are all weights of the profile here, and the right ones?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from core.files import write_json
from core.params import load_params


@click.command()
@click.option(
    "--params", "path", default="params.yaml", show_default=True, type=click.Path(path_type=Path),
    help="Parameter file of the profile.",
)  # fmt: skip
@click.option("--download", "get", is_flag=True, help="Get what is missing and on the Hugging Face hub.")
@click.option("--quiet", is_flag=True, help="Print nothing if all is well.")
@click.option("--record", type=click.Path(path_type=Path), help="Write the hashes of all files here, if all is well.")
def fetch(path: Path, get: bool, quiet: bool, record: Path | None) -> None:
    """Check that every weight the profile names is here; say what is missing, where to get it and where to put it.

    The exit code is 1 while anything is missing or of another size or hash than expected, and then nothing is written.
    Without --download nothing is ever fetched from anywhere; with it HF_HUB_OFFLINE is still honoured.
    """
    from core.weights.fetch import check, download, needs, table

    found = needs(load_params(path))
    check(found)
    if get:
        download(found)
        check(found)
    wrong = [need for need in found if not need.well]
    if wrong:
        click.echo(table(wrong))
        click.echo(f"\npanobench: error: {len(wrong)} of {len(found)} weights of {path} are missing or wrong", err=True)
        sys.exit(1)
    if record is not None:
        write_json(record, {need.entry.path: need.hashes for need in found})
    if not quiet:
        click.echo(table(found))
