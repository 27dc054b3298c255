"""`panobench study`: prepare, serve, invite, status, close, export, import, backup, restore, analyse, power."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from study_app.analysis.cli import analyse, power

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


class _InOrder(click.Group):
    """A group that lists its commands in their order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


@click.group(cls=_InOrder)
def study() -> None:
    """Prepare, serve, watch and analyse the human study.

    A study compares the videos of two or more methods, in pairs or all at once, blinded, on five criteria.
    docs/study.md tells the whole way.

    \b
      panobench study prepare A/manifest.jsonl B/manifest.jsonl --out study
      panobench study serve --bundle study
      panobench study invite --bundle study --count 40 --url https://study.example.org > links.txt
      panobench study analyse --bundle study
    """


@study.command(short_help="Turn manifests of several methods into a blinded bundle.")
@click.argument("manifests", nargs=-1, type=click.Path(path_type=Path), metavar="[MANIFEST]...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle.")
@click.option(
    "--params",
    "params_path",
    type=click.Path(path_type=Path),
    help="YAML file with a `study` section, which may name a study.yaml.",
)
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="Where key.json goes; by default into --out.")
def prepare(manifests: tuple[Path, ...], out: Path, params_path: Path | None, key_path: Path | None) -> None:
    """Turn manifests of several methods into a blinded study bundle.

    MANIFEST is a manifest.jsonl, or a folder that holds one; with none, the methods of `run.methods` in --params are
    taken, and no folder that another choice of methods left behind. Everything that raters could tell the methods
    apart by is taken away; which video is whose is written to key.json alone. Set PANOBENCH_STUDY_SECRET to a phrase
    of your own for a study whose raters may know this program.
    """
    from core.errors import PanobenchError
    from study_app.design import trials_per_rater
    from study_app.params import DEFAULT_SEED, StudyParams, read_study_params, run_manifests
    from study_app.prepare import prepare as build
    from study_app.session import session_length

    params, seed = read_study_params(params_path) if params_path else (StudyParams(), DEFAULT_SEED)
    if not manifests:
        if params_path is None:
            raise PanobenchError("nothing to compare: name two manifests or more, or a params.yaml with --params")
        manifests = tuple(run_manifests(params_path))
    bundle = build(manifests, out, params, seed, key_path)
    made = bundle.study
    each = trials_per_rater(len(made.methods), len(made.prompts), made.mode)
    size = f"{len(made.methods)} methods x {len(made.prompts)} prompts"
    kind = "pages" if made.mode == "best-of-four" else "pairs"
    click.echo(f"study {made.study_id}: {size}, {each} {kind} per rater, {session_length(bundle) - each} controls")
    click.echo(f"bundle {out}; which video is whose is in {key_path or out / 'key.json'}, for the export only")
    click.echo(f"show it with `panobench study serve --bundle {out}`")


@study.command(short_help="Check everything, then run the web app.")
@_bundle
@_database
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535), help="To listen on.")
def serve(bundle: Path | None, database: str | None, address: str, port: int) -> None:
    """Check the bundle, the database and the port, then run the web app until Ctrl-C.

    It listens on this machine only; put a reverse proxy with TLS before it. PANOBENCH_ADMIN_PASSWORD, of 12 characters
    or more, opens the organiser's page at /organiser.
    """
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


@study.command(short_help="Print personal links, one a line.")
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


@study.command(short_help="Print how far each rater has come.")
@_bundle
@_database
def status(bundle: Path | None, database: str | None) -> None:
    """Print how far each rater has come; says nothing about what was answered."""
    from study_app.export import votes
    from study_app.organiser import closed_at, progress
    from study_app.screening import flags

    store = _open(bundle, database)
    raters = progress(store)
    begun = [rater for rater in raters if rater.number is not None]
    finished = sum(rater.completed_at is not None for rater in begun)
    closed = closed_at(store)
    click.echo(f"study {store.study_id}, {'closed ' + closed if closed else 'open'}, votes in {store.place}")
    click.echo(f"{len(raters)} links, {len(begun)} raters began, {finished} finished")
    flagged = flags(store.bundle, votes(store))
    for rater in begun:
        notes = [rater.label or "", "withdrawn" if rater.withdrawn_at else "", *flagged.get(rater.id, [])]
        said = "".join(f"  {note}" for note in notes if note)
        click.echo(f"{rater.number:4d}  {rater.id}  {rater.answered:3d} of {rater.trials} pages  {rater.source}{said}")


@study.command(short_help="Make links invalid.")
@_bundle
@_database
@click.argument("raters", nargs=-1, required=True, metavar="RATER...")
def revoke(bundle: Path | None, database: str | None, raters: tuple[str, ...]) -> None:
    """Make links invalid; RATER is an id that `panobench study status` prints. What was answered stays."""
    from study_app import organiser

    click.echo(f"{organiser.revoke(_open(bundle, database), list(raters))} links revoked")


@study.command(short_help="Take no more raters; results may be looked at.")
@_bundle
@_database
@click.option("--open", "again", is_flag=True, help="Open a closed study again.")
def close(bundle: Path | None, database: str | None, again: bool) -> None:
    """Take no more raters; only then does the organiser's page give results out."""
    from study_app.organiser import set_closed

    store = _open(bundle, database)
    set_closed(store, not again)
    click.echo(f"study {store.study_id} is {'open' if again else 'closed'}")


@study.command("export", short_help="Write all votes, and a codebook beside them.")
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


@study.command("import", short_help="Fill an empty database from an export.")
@click.argument("votes", type=click.Path(path_type=Path))
@_bundle
@_database
def import_(votes: Path, bundle: Path | None, database: str | None) -> None:
    """Fill an empty database from an export (.csv or .json); exporting it again gives the same table."""
    from study_app.transfer import import_votes

    store = _open(bundle, database)
    click.echo(f"{import_votes(store, votes)} answers in {store.place}")


@study.command(short_help="Write everything that the database holds.")
@_bundle
@_database
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON file.")
def backup(bundle: Path | None, database: str | None, out: Path) -> None:
    """Write everything that the database holds of this study, also while it runs. Links stay valid after a restore."""
    from study_app import transfer

    transfer.backup(_open(bundle, database), out)
    click.echo(f"backup in {out}")


@study.command(short_help="Fill an empty database from a backup.")
@click.argument("file", type=click.Path(path_type=Path))
@_bundle
@_database
def restore(file: Path, bundle: Path | None, database: str | None) -> None:
    """Fill an empty database, SQLite or PostgreSQL, from a backup."""
    from study_app.transfer import restore_backup

    store = _open(bundle, database)
    click.echo(f"{restore_backup(store, file)} answers in {store.place}")


study.add_command(analyse)
study.add_command(power)


def _open(folder: Path | None, database: str | None) -> "Store":
    from study_app.bundle import load_bundle
    from study_app.locate import find_bundle
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
