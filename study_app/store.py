"""Raters, their assignments and their answers, in SQLite (WAL) or any database that SQLAlchemy can reach by URL.

The database is the only truth: a page is drawn from it, and a reload, another device or a restarted server shows the
same trial with the same sides. Every change is one short transaction that takes the write lock at its start.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import SQLAlchemyError

from core.errors import PanobenchError
from study_app.bundle import Bundle, project_root
from study_app.design import criterion_order, schedule
from study_app.texts import CHOICES

SCHEMA_VERSION = "1"
TOKEN_BYTES = 16  # 128 bits
LOCK_SECONDS = 20.0

_metadata = MetaData()
_meta = Table("meta", _metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))
_rater = Table(
    "rater",
    _metadata,
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
_assignment = Table(
    "assignment",
    _metadata,
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
_answer = Table(
    "answer",
    _metadata,
    Column("assignment_id", String, ForeignKey("assignment.id"), primary_key=True),
    Column("criterion", String, primary_key=True),
    Column("choice", String, nullable=False),
    Column("bundle_sha256", String, nullable=False),
    Column("answered_at", String, nullable=False),
)


class StoreError(PanobenchError):
    """The database could not be read or written; nothing was half written."""


class Refused(PanobenchError):
    """A request that does not fit: an unknown link, another rater's trial, an incomplete set of answers."""


@dataclass(frozen=True)
class Rater:
    id: str
    number: int | None
    consented: bool
    instructed: bool
    completion_code: str | None


@dataclass(frozen=True)
class Assignment:
    """One trial as stored: stimulus ids on the left and right. ``position`` counts from 0."""

    id: str
    position: int
    total: int
    prompt_id: str
    left: str
    right: str


def default_database(bundle: Bundle) -> str:
    """PANOBENCH_STUDY_DB, else `votes/<study id>.sqlite` at the root of the project that holds the bundle."""
    named = os.environ.get("PANOBENCH_STUDY_DB")
    if named:
        return named
    return str(project_root(bundle.folder) / "votes" / f"{bundle.study.study_id}.sqlite")


def now() -> str:
    """UTC time as text, to the millisecond; text, so that all databases give identical exports."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def token_hash(token: str) -> str:
    """What is stored of a token. Tokens are random 128-bit numbers, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


class Store:
    """The votes of one study. Safe to share between threads."""

    def __init__(self, bundle: Bundle, url: str | None = None, lock_seconds: float = LOCK_SECONDS) -> None:
        """Open the database and make its tables if they are not there.

        Args:
            bundle: the study whose votes these are.
            url: SQLAlchemy URL, or the path of an SQLite file; by default ``default_database``.
            lock_seconds: how long to wait for another writer before giving up.
        """
        self.bundle = bundle
        self.url = _as_url(url or default_database(bundle))
        self.place = self.url.database or str(self.url)
        try:
            self._engine = _make_engine(self.url, lock_seconds)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(f"database {self.place}: {error}") from error
        with self._write() as connection:
            _metadata.create_all(connection)
            found = connection.scalar(sa.select(_meta.c.value).where(_meta.c.name == "schema_version"))
            if found is None:
                connection.execute(_meta.insert().values(name="schema_version", value=SCHEMA_VERSION))
        if found not in (None, SCHEMA_VERSION):
            raise StoreError(
                f"{self.place}: votes of database version {found}, this program reads {SCHEMA_VERSION}; "
                "name another database with PANOBENCH_STUDY_DB"
            )

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def invite(self, count: int = 1, source: str = "invited", label: str | None = None) -> list[str]:
        """Make personal tokens. They are returned once; only their hashes are stored."""
        tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in range(count)]
        rows = [
            {"id": secrets.token_hex(8), "study_id": self.bundle.study.study_id, "token_hash": token_hash(token)}
            | {"source": source, "label": label, "created_at": now()}
            for token in tokens
        ]
        with self._write() as connection:
            connection.execute(_rater.insert(), rows)
        return tokens

    def rater(self, token: str) -> Rater | None:
        """Who holds this token in this study, or None."""
        with self._read() as connection:
            row = connection.execute(_rater.select().where(*self._holder(token))).first()
        if row is None:
            return None
        return Rater(row.id, row.number, row.consented_at is not None, row.instructed_at is not None, row.completion_code)

    def consent(self, token: str) -> None:
        """Record the consent, give the rater the next place in the design and write down all trials with their sides.

        Sending it twice changes nothing.
        """
        study = self.bundle.study
        with self._write() as connection:
            row = self._require(connection, token)
            if row.number is not None:
                return
            last = sa.select(sa.func.max(_rater.c.number)).where(_rater.c.study_id == study.study_id)
            highest = connection.scalar(last)
            number = 0 if highest is None else highest + 1
            trials = schedule(self.bundle.design_key, number, len(study.methods), len(study.prompts), study.mode)
            values = {"number": number, "consent_version": study.consent_version, "consented_at": now()}
            connection.execute(_rater.update().where(_rater.c.id == row.id).values(**values))
            connection.execute(
                _assignment.insert(),
                [
                    {
                        "id": secrets.token_hex(12),
                        "rater_id": row.id,
                        "position": position,
                        "prompt_id": study.prompts[trial.prompt].id,
                        "left": self.bundle.stimulus_at[trial.left, trial.prompt],
                        "right": self.bundle.stimulus_at[trial.right, trial.prompt],
                    }
                    for position, trial in enumerate(trials)
                ],
            )

    def instructed(self, token: str) -> None:
        """The rater has read the instructions."""
        with self._write() as connection:
            row = self._require(connection, token)
            if row.instructed_at is None:
                connection.execute(_rater.update().where(_rater.c.id == row.id).values(instructed_at=now()))

    def current(self, token: str) -> Assignment | None:
        """The rater's first trial without answers, or None when all are answered. Notes when it was first shown."""
        with self._read() as connection:
            rater = self._require(connection, token)
            total = sa.select(sa.func.count()).where(_assignment.c.rater_id == rater.id)
            row = connection.execute(
                _assignment.select()
                .where(_assignment.c.rater_id == rater.id, _assignment.c.submitted_at.is_(None))
                .order_by(_assignment.c.position)
                .limit(1)
            ).first()
            count = connection.scalar(total) or 0
        if row is None:
            return None
        if row.shown_at is None:
            with self._write() as connection:
                unseen = (_assignment.c.id == row.id, _assignment.c.shown_at.is_(None))
                connection.execute(_assignment.update().where(*unseen).values(shown_at=now()))
        return Assignment(row.id, row.position, count, row.prompt_id, row.left, row.right)

    def following(self, trial: Assignment) -> list[str]:
        """Stimulus ids of the trial after this one, so that its videos can be fetched ahead."""
        owner = sa.select(_assignment.c.rater_id).where(_assignment.c.id == trial.id).scalar_subquery()
        after = (_assignment.c.rater_id == owner, _assignment.c.position == trial.position + 1)
        with self._read() as connection:
            row = connection.execute(_assignment.select().where(*after)).first()
        return [row.left, row.right] if row else []

    def criteria(self, rater: Rater) -> list[str]:
        """The order of the questions for this rater."""
        return criterion_order(self.bundle.design_key, rater.number or 0, self.bundle.criteria)

    def submit(self, token: str, assignment_id: str, answers: dict[str, str]) -> bool:
        """Store all answers of one trial in one transaction.

        What is stored stays: a second submit of the same trial (a double click, a second tab, a resent request)
        changes nothing.

        Returns:
            True if these answers were stored now, False if the trial had been answered before.

        Raises:
            Refused: the trial is not this rater's, or the answers are not exactly one valid choice per criterion.
            StoreError: nothing was stored.
        """
        if set(answers) != set(self.bundle.criteria) or not set(answers.values()) <= set(CHOICES):
            raise Refused("every question needs exactly one of the answers left, tie, right")
        with self._write() as connection:
            rater = self._require(connection, token)
            mine = (_assignment.c.id == assignment_id, _assignment.c.rater_id == rater.id)
            row = connection.execute(_assignment.select().where(*mine)).first()
            if row is None:
                raise Refused("this trial does not belong to this link")
            if row.submitted_at is not None:
                return False
            time = now()
            rows = [
                {"assignment_id": assignment_id, "criterion": criterion, "choice": choice, "answered_at": time}
                | {"bundle_sha256": self.bundle.sha256}
                for criterion, choice in answers.items()
            ]
            connection.execute(_insert_once(connection, _answer), rows)
            connection.execute(_assignment.update().where(*mine).values(submitted_at=time))
            open_trials = (_assignment.c.rater_id == rater.id, _assignment.c.submitted_at.is_(None))
            if not connection.scalar(sa.select(sa.func.count()).select_from(_assignment).where(*open_trials)):
                code = secrets.token_hex(4).upper()
                values = {"completed_at": time, "completion_code": code}
                connection.execute(_rater.update().where(_rater.c.id == rater.id).values(**values))
        return True

    def answers(self) -> list[sa.Row]:
        """Every stored answer with its trial and rater, ordered by rater, trial and criterion."""
        query = (
            sa.select(
                _rater.c.id.label("rater"),
                _rater.c.number.label("rater_number"),
                _rater.c.source,
                _rater.c.consent_version,
                _assignment.c.id.label("assignment"),
                *(_assignment.c[name] for name in ("position", "prompt_id", "left", "right", "shown_at", "submitted_at")),
                _answer.c.criterion,
                _answer.c.choice,
                _answer.c.bundle_sha256,
            )
            .join_from(_answer, _assignment)
            .join(_rater)
            .where(_rater.c.study_id == self.bundle.study.study_id)
            .order_by(_rater.c.number, _assignment.c.position, _answer.c.criterion)
        )
        with self._read() as connection:
            return list(connection.execute(query))

    def progress(self) -> list[sa.Row]:
        """One row per rater: id, source, label, number, trials answered, trials in all, completed_at."""
        done = sa.func.count(_assignment.c.submitted_at).label("answered")
        query = (
            sa.select(
                *(_rater.c[name] for name in ("id", "source", "label", "number", "created_at", "completed_at")),
                done,
                sa.func.count(_assignment.c.id).label("trials"),
            )
            .outerjoin_from(_rater, _assignment)
            .where(_rater.c.study_id == self.bundle.study.study_id)
            .group_by(_rater.c.id)
            .order_by(_rater.c.number, _rater.c.created_at)
        )
        with self._read() as connection:
            return list(connection.execute(query))

    def _holder(self, token: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (_rater.c.token_hash == token_hash(token), _rater.c.study_id == self.bundle.study.study_id)

    def _require(self, connection: Connection, token: str) -> sa.Row:
        row = connection.execute(_rater.select().where(*self._holder(token))).first()
        if row is None:
            raise Refused("this link is not valid for this study")
        return row

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement (SQLite: BEGIN IMMEDIATE).

        A transaction that reads first and writes later would fail at once with "database is locked" whenever another
        one wrote in between.
        """
        with self._translated(), self._engine.connect().execution_options(write=True) as connection:
            with connection.begin():
                yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(f"{self.place}: {_reason(error)}") from error


def _as_url(text: str) -> sa.URL:
    try:
        return sa.make_url(text) if "://" in text else sa.URL.create("sqlite", database=str(Path(text).resolve()))
    except SQLAlchemyError as error:
        raise StoreError(f"PANOBENCH_STUDY_DB: not a database URL ({error})") from error


def _make_engine(url: sa.URL, lock_seconds: float) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    if url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{url.database}: the folder cannot be made ({error.strerror})") from error
    engine = sa.create_engine(url, connect_args={"timeout": lock_seconds})

    @event.listens_for(engine, "connect")
    def _connect(connection, _record) -> None:  # type: ignore[no-untyped-def]
        connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _insert_once(connection: Connection, table: Table):  # type: ignore[no-untyped-def]
    """INSERT ... ON CONFLICT DO NOTHING in the connection's dialect."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        return insert_postgresql(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as insert_sqlite

    return insert_sqlite(table).on_conflict_do_nothing()


def _reason(error: SQLAlchemyError) -> str:
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
