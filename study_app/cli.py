"""`panobench study`: prepare, serve, invite, status, export."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from study_app.store import Store

_bundle = click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Folder of the study bundle; by default PANOBENCH_STUDY, else the newest outputs/*/study.",
)
_database = click.option(
    "--database",
    help="SQLite file or SQLAlchemy URL of the votes; by default PANOBENCH_STUDY_DB, else votes/<study id>.sqlite.",
)


@click.group()
def study() -> None:
    """Prepare, serve and export the human study.

    A study compares the videos of two or more methods, in pairs, blinded, on five criteria.
    """


@study.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option("--params", "params_path", type=click.Path(path_type=Path), help="YAML file with a `study` section.")
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="Where key.json goes; by default into --out.")
def prepare(manifests: tuple[Path, ...], out: Path, params_path: Path | None, key_path: Path | None) -> None:
    """Turn manifests of several methods into a blinded study bundle.

    MANIFEST is a manifest.jsonl, or a folder that holds one. Everything that raters could tell the methods apart by is
    taken away; which video is whose is written to key.json alone. Set PANOBENCH_STUDY_SECRET to a phrase of your own
    for a study whose raters may know this program.
    """
    from study_app.design import trials_per_rater
    from study_app.params import StudyParams, read_study_params
    from study_app.prepare import prepare as build

    params, seed = read_study_params(params_path) if params_path else (StudyParams(), 360)
    made = build(manifests, out, params, seed, key_path).study
    each = trials_per_rater(len(made.methods), len(made.prompts), made.mode)
    size = f"{len(made.methods)} methods x {len(made.prompts)} prompts"
    click.echo(f"study {made.study_id}: {size}, {each} pairs per rater")
    click.echo(f"bundle {out}; which video is whose is in {key_path or out / 'key.json'}, for the export only")
    click.echo(f"show it with `panobench study serve --bundle {out}`")


@study.command()
@_bundle
@_database
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535))
def serve(bundle: Path | None, database: str | None, address: str, port: int) -> None:
    """Check the bundle, the database and the port, then run the web app until Ctrl-C."""
    import os
    import sys

    store = _open(bundle, database)
    os.environ["PANOBENCH_STUDY"] = str(store.bundle.folder)
    os.environ["PANOBENCH_STUDY_DB"] = store.url.render_as_string(hide_password=False)
    _require_free(address, port)
    click.echo(f"study {store.bundle.study.study_id}, votes in {store.place}")
    store.close()
    sys.stdout.flush()
    arguments = ["run", str(Path(__file__).parent), "--server.address", address, "--server.port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", *arguments])


@study.command()
@_bundle
@_database
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 10_000), help="How many links to make.")
@click.option("--label", help="A note kept beside these invitations, such as the batch; not a name, please.")
@click.option("--url", default="http://127.0.0.1:8501", show_default=True, help="Address of the app as raters see it.")
def invite(bundle: Path | None, database: str | None, count: int, label: str | None, url: str) -> None:
    """Print personal links, one a line. Only their hashes are stored, so keep this list."""
    store = _open(bundle, database)
    for token in store.invite(count, label=label):
        click.echo(f"{url.rstrip('/')}/?rater={token}")


@study.command()
@_bundle
@_database
def status(bundle: Path | None, database: str | None) -> None:
    """Print how far each rater has come; says nothing about what was answered."""
    store = _open(bundle, database)
    raters = store.progress()
    begun = [rater for rater in raters if rater.number is not None]
    finished = sum(rater.completed_at is not None for rater in begun)
    click.echo(f"study {store.bundle.study.study_id}, votes in {store.place}")
    click.echo(f"{len(raters)} links, {len(begun)} raters began, {finished} finished")
    for rater in begun:
        label = f"  {rater.label}" if rater.label else ""
        click.echo(f"{rater.number:4d}  {rater.id}  {rater.answered:3d} of {rater.trials} pairs  {rater.source}{label}")


@study.command("export")
@_bundle
@_database
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="key.json, if it is not in the bundle.")
@click.option("--out", default="votes.csv", show_default=True, type=click.Path(path_type=Path), help=".csv or .json")
def export_(bundle: Path | None, database: str | None, key_path: Path | None, out: Path) -> None:
    """Write all votes with the methods' names, and a codebook beside them."""
    from core.errors import PanobenchError
    from study_app.bundle import KEY_FILE, load_key
    from study_app.export import export

    if out.suffix not in (".csv", ".json"):
        raise PanobenchError(f"{out}: votes are exported as .csv or .json; give --out one of these endings")
    store = _open(bundle, database)
    key = load_key(key_path or store.bundle.folder / KEY_FILE, store.bundle.study.study_id)
    count, codebook = export(store, key, out)
    click.echo(f"{count} answers in {out}, explained in {codebook}")


def _open(folder: Path | None, database: str | None) -> "Store":
    from study_app.bundle import find_bundle, load_bundle
    from study_app.store import Store

    return Store(load_bundle(folder if folder is not None else find_bundle()), database)


def _require_free(address: str, port: int) -> None:
    """Raise PanobenchError unless a server can listen there."""
    import socket

    from core.errors import PanobenchError

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise PanobenchError(
                f"{address}:{port} cannot be used ({error.strerror}); stop what listens there or choose another --port"
            ) from error
