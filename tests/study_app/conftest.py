"""Small studies for the tests of the study."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from study_app.bundle import Bundle
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.store import Store
from tests.study_app.small import METHODS, PLAIN, PROMPTS, Server, direction_clip, noise, write_method


@pytest.fixture(scope="session")
def four_methods(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Manifests of the paper's four methods on eight prompts, tiny noise videos."""
    root = tmp_path_factory.mktemp("videos")
    return [
        write_method(root / method, method, PROMPTS, lambda index, number=number: noise(100 * number + index))
        for number, method in enumerate(METHODS)
    ]


@pytest.fixture(scope="session")
def big_bundle(four_methods: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """4 methods x 8 prompts in half mode, as in the paper. Read only."""
    return prepare(four_methods, tmp_path_factory.mktemp("big") / "study", StudyParams())


@pytest.fixture(scope="session")
def seam_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two methods, `periodicworld` without and `cutworld` with a step at longitude 180, on two prompts. Read only."""
    root = tmp_path_factory.mktemp("seam")
    prompts = {"one": "a sphere of colours", "two": "the same sphere, again"}
    manifests = [
        write_method(root / name, name, prompts, lambda _, cut=name == "cutworld": direction_clip(cut=cut))
        for name in ("periodicworld", "cutworld")
    ]
    return prepare(manifests, root / "study", StudyParams(mode="full", controls=PLAIN))


@pytest.fixture
def votes() -> Iterator[Path]:
    """Where a test's database goes: in memory where the system has such a folder, as every commit is synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder) / "votes.sqlite"


@pytest.fixture
def postgres() -> Iterator[str]:
    """URL of an empty schema on the PostgreSQL server of PANOBENCH_TEST_POSTGRES."""
    from study_app.database import as_url

    server, schema = as_url(os.environ["PANOBENCH_TEST_POSTGRES"]), f"test_{secrets.token_hex(6)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create schema {schema}"))
    yield server.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"drop schema {schema} cascade"))
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, votes: Path) -> str:
    """Where a test's votes go: an SQLite file, and once more a PostgreSQL server."""
    return str(votes) if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def store(big_bundle: Bundle, database: str) -> Iterator[Store]:
    """An empty database for the big bundle."""
    opened = Store(big_bundle, database)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(seam_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with the seam bundle, for one test module."""
    folder = tmp_path_factory.mktemp("server")
    running = Server(seam_bundle.folder, folder / "votes.sqlite", folder / "server.log")
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Debian's chromium (a test tool's own build has no H.264)."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return found
