"""How long saving a trial takes: 31 raters at once, every submit sent twice, SQLite and, if there is one, PostgreSQL.

    python -m benchmarks.study_submit [--raters 31] [--mode half] [--pause 2]

Two times for each database: of the transaction alone, by threads that wait for nothing, which is the worst that so many
raters can do; and as a rater sees it, from the press of the button until the next page has arrived whole from a real
server, by sessions that speak Streamlit's websocket protocol and think for --pause seconds before a press, on average.
Real raters take half a minute. PostgreSQL is measured when PANOBENCH_TEST_POSTGRES names a server (its
`panobench_benchmark` schema is made anew).
"""

import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from core.video import write_video
from study_app.bundle import Bundle
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.store import Store


def make_bundle(folder: Path, mode: str) -> Bundle:
    """A study of 4 methods x 8 prompts with tiny videos of noise."""
    rng = np.random.default_rng(0)
    for method in ("one", "two", "three", "four"):
        rows = []
        for prompt in range(8):
            path = folder / method / f"{prompt}.mp4"
            write_video(path, rng.integers(0, 256, (2, 16, 32, 3), dtype=np.uint8), 8)
            row = {"id": f"{method}/{prompt}", "method": f"method-{method}", "prompt_id": f"p{prompt}"}
            rows.append(row | {"prompt": "noise", "path": path.name})
        (folder / method / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifests = [folder / method for method in ("one", "two", "three", "four")]
    return prepare(manifests, folder / "study", StudyParams.model_validate({"mode": mode}))


def rate(store: Store, _: int) -> list[float]:
    """One rater through the whole study; the seconds of each first submit."""
    (token,) = store.invite()
    store.consent(token)
    seconds = []
    while (trial := store.current(token)) is not None:
        store.seen(token, trial.id)
        answers = dict.fromkeys(store.bundle.criteria, store.bundle.choices[0])
        start = time.perf_counter()
        store.submit(token, trial.id, answers)
        seconds.append(time.perf_counter() - start)
        store.submit(token, trial.id, answers)
    return seconds


def through_the_store(bundle: Bundle, url: str, raters: int) -> list[float]:
    """Seconds of every transaction of ``raters`` raters at once."""
    store = Store(bundle, url)
    with ThreadPoolExecutor(raters) as pool:
        seconds = [value for values in pool.map(lambda index: rate(store, index), range(raters)) for value in values]
    require_all(store, raters)
    return seconds


def through_the_app(bundle: Bundle, url: str, raters: int, pause: float, log: Path) -> list[float]:
    """Seconds from every submit to the next page, of ``raters`` sessions of one server at once."""
    from tests.study_app.small import Server
    from tests.study_app.visitor import walk

    server = Server(bundle.folder, url, log)
    server.start()
    try:
        with ThreadPoolExecutor(raters) as pool:
            walks = list(
                pool.map(lambda _: walk(server.url, bundle, lambda *_: bundle.choices[0], pause=pause), range(raters))
            )
    finally:
        server.kill()
    require_all(Store(bundle, url), raters)
    return [seconds for one in walks for seconds in one.seconds]


def require_all(store: Store, raters: int) -> None:
    """Raise if an answer is missing or there twice; closes the store."""
    from study_app.export import votes
    from study_app.session import session_length

    stored, expected = len(votes(store)), raters * session_length(store.bundle) * len(store.bundle.criteria)
    store.close()
    if stored != expected:
        raise RuntimeError(f"{stored} answers are stored, {expected} were given")


def empty_schema(server: str) -> str:
    """URL of an empty schema on a PostgreSQL server."""
    import sqlalchemy as sa

    from study_app.database import as_url

    url = as_url(server)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("drop schema if exists panobench_benchmark cascade"))
        connection.execute(sa.text("create schema panobench_benchmark"))
    engine.dispose()
    return url.update_query_dict({"options": "-csearch_path=panobench_benchmark"}).render_as_string(hide_password=False)


@click.command(help=__doc__)
@click.option("--raters", default=31, show_default=True, type=click.IntRange(1, 200))
@click.option("--mode", default="half", show_default=True, type=click.Choice(["half", "full", "best-of-four"]))
@click.option("--pause", default=2.0, show_default=True, type=click.FloatRange(0), help="Mean seconds before a press.")
def main(raters: int, mode: str, pause: float) -> None:
    """Print two lines per database."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(folder, mode)
        server = os.environ.get("PANOBENCH_TEST_POSTGRES")
        for database in ("SQLite", *(["PostgreSQL"] if server else [])):
            for what in ("store", "app"):
                url = empty_schema(server) if server and database == "PostgreSQL" else str(folder / f"{what}.sqlite")
                start = time.perf_counter()
                if what == "store":
                    seconds = through_the_store(bundle, url, raters)
                else:
                    seconds = through_the_app(bundle, url, raters, pause, folder / "server.log")
                took = time.perf_counter() - start
                p50, p99 = np.percentile(seconds, [50, 99]) * 1000
                click.echo(
                    f"{database:<10}  {what:<5}  {raters} raters, {len(seconds)} trials saved in {took:.1f} s: "
                    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
                )


if __name__ == "__main__":
    main()
