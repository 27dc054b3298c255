"""The tables of the votes, and how their database is opened: SQLite (WAL), or PostgreSQL by its URL.

A change of the tables is a new revision in study_app/migrations and a new HEAD here; tests compare the two.
"""

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.errors import PanobenchError

#: The newest revision in study_app/migrations.
HEAD = "0002"

metadata = MetaData()
study = Table(
    "study",
    metadata,
    Column("study_id", String, primary_key=True),
    Column("closed_at", String),
)
rater = Table(
    "rater",
    metadata,
    Column("id", String, primary_key=True),
    Column("study_id", String, nullable=False, index=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("source", String, nullable=False),  # invited | open
    Column("label", String),
    Column("number", Integer),  # in the order of consent
    Column("place", Integer),  # in the design; a place whose rater left is given to the next one
    Column("language", String),
    Column("created_at", String, nullable=False),
    Column("revoked_at", String),
    Column("consent_version", String),
    Column("consented_at", String),
    Column("checked_at", String),
    Column("instructed_at", String),
    Column("rested_at", String),
    Column("completed_at", String),
    Column("completion_code", String),
    Column("withdrawn_at", String),
    UniqueConstraint("study_id", "number"),
)
place = Table(
    "place",
    metadata,
    Column("study_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("rater_id", String, ForeignKey("rater.id"), nullable=False),  # who holds the lease
    Column("leased_until", String, nullable=False),
    Column("finished_at", String),
)
assignment = Table(
    "assignment",
    metadata,
    Column("id", String, primary_key=True),
    Column("rater_id", String, ForeignKey("rater.id"), nullable=False),
    Column("position", Integer, nullable=False),  # from 0; practice trials have negative ones
    Column("kind", String, nullable=False, server_default="scored"),
    Column("control", String),
    Column("prompt_id", String, nullable=False),
    Column("stimuli", String, nullable=False, server_default=""),  # ids from left to right, with a space between
    Column("shown_at", String),
    Column("seen_at", String),  # when all videos and the seam had been looked at
    Column("submitted_at", String),
    UniqueConstraint("rater_id", "position"),
)
answer = Table(
    "answer",
    metadata,
    Column("assignment_id", String, ForeignKey("assignment.id"), primary_key=True),
    Column("criterion", String, primary_key=True),
    Column("choice", String, nullable=False),
    Column("bundle_sha256", String, nullable=False),
    Column("settings_sha256", String, nullable=False, server_default=""),
    Column("answered_at", String, nullable=False),
)


#: Number of PostgreSQL's advisory lock while tables are changed.
MIGRATION_LOCK = 360_001


class StoreError(PanobenchError):
    """The database could not be read or written; nothing was half written."""


def as_url(text: str) -> sa.URL:
    """An SQLAlchemy URL as it is; anything else is the path of an SQLite file."""
    try:
        url = sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=str(Path(text).resolve()))
    except SQLAlchemyError as error:
        raise StoreError(f"PANOBENCH_STUDY_DB: not a database URL ({error})") from error
    # The driver that is installed, whatever SQLAlchemy takes when none is named.
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def make_engine(url: sa.URL, lock_seconds: float) -> sa.Engine:
    """An engine whose transactions begin with the write lock when the connection carries ``write=True``.

    Args:
        url: of the database.
        lock_seconds: how long an SQLite writer waits for another one.
    """
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    if url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{url.database}: the folder cannot be made ({error.strerror})") from error
    engine = sa.create_engine(url, connect_args={"timeout": lock_seconds})

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def insert_once(connection: Connection, table: Table) -> sa.Insert:
    """INSERT ... ON CONFLICT DO NOTHING in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        return insert_postgresql(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite

    return insert_sqlite(table).on_conflict_do_nothing()


def migrate(engine: sa.Engine, where: str) -> None:
    """Bring the tables to the newest schema, in one transaction and only one process at a time.

    Raises:
        StoreError: the database is newer than this program.
    """
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        tables = sa.inspect(connection).get_table_names()
        found = (
            connection.scalar(sa.text("select version_num from alembic_version"))
            if "alembic_version" in tables
            else None
        )
        if found == HEAD:
            return
        if found is not None and not found < HEAD:
            raise StoreError(
                f"{where}: votes of database version {found}, this program reads {HEAD}; update panobench, or name "
                "another database with PANOBENCH_STUDY_DB"
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        if found is None and "rater" in tables:  # made before there were migrations
            command.stamp(config, "0001")
        command.upgrade(config, HEAD)


def reason(error: SQLAlchemyError | sqlite3.Error) -> str:
    """What to tell the organiser, in one line."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    known = {
        "database is locked": "the database is locked by another program; close it and try again",
        "database or disk is full": "the disk is full; free some space, nothing that was saved is lost",
        "unable to open database file": "the database cannot be opened; is the folder writable?",
        "readonly database": "the database is read-only; make the file and its folder writable",
        "file is not a database": "not an SQLite database; name another file with PANOBENCH_STUDY_DB",
    }
    return next((message for part, message in known.items() if part in text), " ".join(text.split()))
