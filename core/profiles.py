"""`panobench profile NAME`: which of the profiles params.yaml holds."""

from __future__ import annotations

from pathlib import Path

import click

from core.errors import PanobenchError, did_you_mean
from core.files import write_text
from core.params import load_params

ACTIVE, SHELF = Path("params.yaml"), Path("profiles")


def switch(name: str) -> str | None:
    """Make `profiles/NAME.yaml` the active params.yaml; what was active goes to `profiles/` as it is.

    Returns:
        the profile that was put away; None if NAME was active already.

    Raises:
        PanobenchError: no such profile, or one of the two files is not valid. Nothing is changed then.
    """
    before = load_params(ACTIVE).profile
    if name == before:
        return None
    source = SHELF / f"{name}.yaml"
    known = sorted({before, *(path.stem for path in SHELF.glob("*.yaml"))})
    if not source.is_file():
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise PanobenchError(f"{source}: no such profile{hint}")
    if (inside := load_params(source).profile) != name:
        raise PanobenchError(f"{source}: its 'profile' is '{inside}'; set it to '{name}'")
    write_text(SHELF / f"{before}.yaml", ACTIVE.read_text(encoding="utf-8"))
    write_text(ACTIVE, source.read_text(encoding="utf-8"))
    return before


@click.command()
@click.argument("name", required=False)
def profile(name: str | None) -> None:
    """Switch to the profile NAME: profiles/NAME.yaml becomes params.yaml. Without NAME, list the profiles.

    The file that was active, with your changes, is kept as profiles/ITS_NAME.yaml, and comes back when you switch back.
    Each profile has its own folder under outputs/, so nothing is overwritten; `dvc repro` after switching back restores
    what it made from its cache instead of running anything.
    """
    if name is None:
        active = load_params(ACTIVE).profile
        for known in sorted({active, *(path.stem for path in SHELF.glob("*.yaml"))}):
            click.echo(f"{'*' if known == active else ' '} {known}")
        return
    before = switch(name)
    if before is None:
        click.echo(f"panobench: {name} is active already")
    else:
        click.echo(f"panobench: {name} is active; {before} is kept as {SHELF / before}.yaml. Next: panobench fetch")
