"""Raters, their assignments and their answers, in SQLite (WAL) or any database that SQLAlchemy can reach by URL.

The database is the only truth: a page is drawn from it, and a reload, another device or a restarted server shows the
same trial with the same sides. Every change is one short transaction that takes the write lock at its start.
"""

import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from core.errors import PanobenchError
from study_app import database as db
from study_app.bundle import Bundle, project_root
from study_app.design import criterion_order, schedule
from study_app.texts import CHOICES

TOKEN_BYTES = 16  # 128 bits
LOCK_SECONDS = 20.0


class Refused(PanobenchError):
    """A request that does not fit: an unknown link, another rater's trial, an incomplete set of answers."""


@dataclass(frozen=True)
class Rater:
    """Who opened a link, and how far they have come. ``number`` is their place in the design."""

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
        self.url = db.as_url(url or default_database(bundle))
        self.place = self.url.database or str(self.url)
        self._turn = threading.Lock()
        try:
            self._engine = db.make_engine(self.url, lock_seconds)
        except (SQLAlchemyError, ImportError) as error:
            raise db.StoreError(f"database {self.place}: {error}") from error
        with self._write() as connection:
            db.metadata.create_all(connection)
            found = connection.scalar(sa.select(db.meta.c.value).where(db.meta.c.name == "schema_version"))
            if found is None:
                connection.execute(db.meta.insert().values(name="schema_version", value=db.SCHEMA_VERSION))
        if found not in (None, db.SCHEMA_VERSION):
            raise db.StoreError(
                f"{self.place}: votes of database version {found}, this program reads {db.SCHEMA_VERSION}; "
                "name another database with PANOBENCH_STUDY_DB"
            )

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def invite(self, count: int = 1, source: str = "invited", label: str | None = None) -> list[str]:
        """Make personal tokens. They are returned once; only their hashes are stored."""
        tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in range(count)]
        shared = {"study_id": self.bundle.study.study_id, "source": source, "label": label, "created_at": now()}
        rows = [shared | {"id": secrets.token_hex(8), "token_hash": token_hash(token)} for token in tokens]
        with self._write() as connection:
            connection.execute(db.rater.insert(), rows)
        return tokens

    def rater(self, token: str) -> Rater | None:
        """Who holds this token in this study, or None."""
        with self._read() as connection:
            row = connection.execute(db.rater.select().where(*self._holder(token))).first()
        if row is None:
            return None
        return Rater(
            row.id, row.number, row.consented_at is not None, row.instructed_at is not None, row.completion_code
        )

    def consent(self, token: str) -> None:
        """Record the consent, give the rater the next place in the design and write down all trials with their sides.

        Sending it twice changes nothing.
        """
        study = self.bundle.study
        with self._write() as connection:
            row = self._require(connection, token)
            if row.number is not None:
                return
            last = sa.select(sa.func.max(db.rater.c.number)).where(db.rater.c.study_id == study.study_id)
            highest = connection.scalar(last)
            number = 0 if highest is None else highest + 1
            trials = schedule(self.bundle.design_key, number, len(study.methods), len(study.prompts), study.mode)
            values = {"number": number, "consent_version": study.consent_version, "consented_at": now()}
            connection.execute(db.rater.update().where(db.rater.c.id == row.id).values(**values))
            connection.execute(
                db.assignment.insert(),
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
                time = now()
                connection.execute(db.rater.update().where(db.rater.c.id == row.id).values(instructed_at=time))
                self._note_shown(connection, row.id, time)

    def current(self, token: str) -> Assignment | None:
        """The rater's first trial without answers, or None when all are answered."""
        with self._read() as connection:
            rater = self._require(connection, token)
            row = self._first_open(connection, rater.id)
            total = connection.scalar(_count(db.assignment.c.rater_id == rater.id)) or 0
        return None if row is None else Assignment(row.id, row.position, total, row.prompt_id, row.left, row.right)

    def following(self, trial: Assignment) -> list[str]:
        """Stimulus ids of the trial after this one, so that its videos can be fetched ahead."""
        owner = sa.select(db.assignment.c.rater_id).where(db.assignment.c.id == trial.id).scalar_subquery()
        after = (db.assignment.c.rater_id == owner, db.assignment.c.position == trial.position + 1)
        with self._read() as connection:
            row = connection.execute(db.assignment.select().where(*after)).first()
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
            mine = (db.assignment.c.id == assignment_id, db.assignment.c.rater_id == rater.id)
            row = connection.execute(db.assignment.select().where(*mine)).first()
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
            connection.execute(db.insert_once(connection, db.answer), rows)
            connection.execute(db.assignment.update().where(*mine).values(submitted_at=time))
            if not self._note_shown(connection, rater.id, time):
                values = {"completed_at": time, "completion_code": secrets.token_hex(4).upper()}
                connection.execute(db.rater.update().where(db.rater.c.id == rater.id).values(**values))
        return True

    def answers(self) -> list[sa.Row]:
        """Every stored answer with its trial and rater, ordered by rater, trial and criterion."""
        query = (
            sa.select(
                db.rater.c.id.label("rater"),
                db.rater.c.number.label("rater_number"),
                db.rater.c.source,
                db.rater.c.consent_version,
                db.assignment.c.id.label("assignment"),
                *(
                    db.assignment.c[name]
                    for name in ("position", "prompt_id", "left", "right", "shown_at", "submitted_at")
                ),
                db.answer.c.criterion,
                db.answer.c.choice,
                db.answer.c.bundle_sha256,
            )
            .join_from(db.answer, db.assignment)
            .join(db.rater)
            .where(db.rater.c.study_id == self.bundle.study.study_id)
            .order_by(db.rater.c.number, db.assignment.c.position, db.answer.c.criterion)
        )
        with self._read() as connection:
            return list(connection.execute(query))

    def progress(self) -> list[sa.Row]:
        """One row per rater: id, source, label, number, trials answered, trials in all, completed_at."""
        done = sa.func.count(db.assignment.c.submitted_at).label("answered")
        query = (
            sa.select(
                *(db.rater.c[name] for name in ("id", "source", "label", "number", "created_at", "completed_at")),
                done,
                sa.func.count(db.assignment.c.id).label("trials"),
            )
            .outerjoin_from(db.rater, db.assignment)
            .where(db.rater.c.study_id == self.bundle.study.study_id)
            .group_by(db.rater.c.id)
            .order_by(db.rater.c.number, db.rater.c.created_at)
        )
        with self._read() as connection:
            return list(connection.execute(query))

    def _holder(self, token: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (db.rater.c.token_hash == token_hash(token), db.rater.c.study_id == self.bundle.study.study_id)

    def _require(self, connection: Connection, token: str) -> sa.Row:
        row = connection.execute(db.rater.select().where(*self._holder(token))).first()
        if row is None:
            raise Refused("this link is not valid for this study")
        return row

    def _first_open(self, connection: Connection, rater_id: str) -> sa.Row | None:
        mine = (db.assignment.c.rater_id == rater_id, db.assignment.c.submitted_at.is_(None))
        return connection.execute(
            db.assignment.select().where(*mine).order_by(db.assignment.c.position).limit(1)
        ).first()

    def _note_shown(self, connection: Connection, rater_id: str, time: str) -> bool:
        """Note that the rater's next trial comes up now; False if there is none. Part of the caller's transaction."""
        row = self._first_open(connection, rater_id)
        if row is not None and row.shown_at is None:
            connection.execute(db.assignment.update().where(db.assignment.c.id == row.id).values(shown_at=time))
        return row is not None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement (SQLite: BEGIN IMMEDIATE).

        A transaction that reads first and writes later would fail at once with "database is locked" whenever another
        one wrote in between. Threads of this process take turns first: SQLite's own waiting is polling, and unfair.
        """
        with (
            self._translated(),
            self._turn,
            self._engine.connect().execution_options(write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise db.StoreError(f"{self.place}: {db.reason(error)}") from error


def _count(*conditions: sa.ColumnElement[bool]) -> sa.Select:
    return sa.select(sa.func.count()).select_from(db.assignment).where(*conditions)
