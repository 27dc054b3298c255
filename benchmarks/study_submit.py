"""How long saving a trial takes: 31 raters at once, every submit sent twice, SQLite and, if there is one, PostgreSQL.

    python -m benchmarks.study_submit [--raters 31] [--mode half]

PostgreSQL is measured when PANOBENCH_TEST_POSTGRES names a server (its `panobench_benchmark` schema is made anew).
A rater reads for half a minute between two submits; here nobody waits, so this is the worst that 31 raters can do.
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


def measure(bundle: Bundle, url: str, raters: int) -> list[float]:
    """Seconds of every submit of ``raters`` raters at once; raises if an answer is missing or there twice."""
    from study_app.export import votes
    from study_app.session import session_length

    store = Store(bundle, url)
    with ThreadPoolExecutor(raters) as pool:
        seconds = [value for values in pool.map(lambda index: rate(store, index), range(raters)) for value in values]
    stored = votes(store)
    expected = raters * session_length(bundle) * len(bundle.criteria)
    store.close()
    if len(stored) != expected:
        raise RuntimeError(f"{len(stored)} answers are stored, {expected} were given")
    return seconds


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
def main(raters: int, mode: str) -> None:
    """Print one line per database."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder), mode)
        places = {"SQLite": str(Path(folder) / "votes.sqlite")}
        if server := os.environ.get("PANOBENCH_TEST_POSTGRES"):
            places["PostgreSQL"] = empty_schema(server)
        for name, url in places.items():
            start = time.perf_counter()
            seconds = measure(bundle, url, raters)
            p50, p99 = np.percentile(seconds, [50, 99]) * 1000
            took = time.perf_counter() - start
            click.echo(
                f"{name:<10}  {raters} raters, {len(seconds)} trials saved in {took:.1f} s: "
                f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
            )


if __name__ == "__main__":
    main()
