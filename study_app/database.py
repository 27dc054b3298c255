"""The tables of the votes, and how their database is opened: SQLite (WAL), or another one by its URL."""

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from core.errors import PanobenchError

SCHEMA_VERSION = "1"

metadata = MetaData()
meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))
rater = Table(
    "rater",
    metadata,
    Column("id", String, primary_key=True),
    Column("study_id", String, nullable=False, index=True),
    Column("token_hash", String, nullable=False, unique=True),
    Column("source", String, nullable=False),  # invited | open
    Column("label", String),
    Column("number", Integer),  # place in the design, given at consent
    Column("created_at", String, nullable=False),
    Column("consent_version", String),
    Column("consented_at", String),
    Column("instructed_at", String),
    Column("completed_at", String),
    Column("completion_code", String),
    UniqueConstraint("study_id", "number"),
)
assignment = Table(
    "assignment",
    metadata,
    Column("id", String, primary_key=True),
    Column("rater_id", String, ForeignKey("rater.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("prompt_id", String, nullable=False),
    Column("left", String, nullable=False),
    Column("right", String, nullable=False),
    Column("shown_at", String),
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
    Column("answered_at", String, nullable=False),
)


class StoreError(PanobenchError):
    """The database could not be read or written; nothing was half written."""


def as_url(text: str) -> sa.URL:
    """An SQLAlchemy URL as it is; anything else is the path of an SQLite file."""
    try:
        return sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=str(Path(text).resolve()))
    except SQLAlchemyError as error:
        raise StoreError(f"PANOBENCH_STUDY_DB: not a database URL ({error})") from error


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
