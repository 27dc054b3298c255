"""Raters, their trials and their answers, in SQLite (WAL) or in PostgreSQL by URL.

The database is the only truth: a page is drawn from it, and a reload, another device or a restarted server shows the
same trial with the same sides. Every change is one short transaction.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from core.errors import PanobenchError
from study_app import database as db
from study_app import leases
from study_app.bundle import Bundle
from study_app.design import criterion_order
from study_app.locate import default_database
from study_app.session import PRACTICE, expected
from study_app.transactions import LOCK_SECONDS, Transactions

TOKEN_BYTES = 16  # 128 bits


class Refused(PanobenchError):
    """A request that does not fit: an unknown link, another rater's trial, an incomplete set of answers."""


class Full(PanobenchError):
    """No more raters are wanted: every place is taken, or the study is closed."""


@dataclass(frozen=True)
class Rater:
    """Who opened a link, and how far they have come. ``number`` is their place in the order of consent."""

    id: str
    number: int | None
    language: str | None
    consented: bool
    checked: bool
    instructed: bool
    rested: bool
    withdrawn: bool
    completion_code: str | None


@dataclass(frozen=True)
class Assignment:
    """One trial as stored: stimulus ids from left to right.

    ``position`` counts from 0 among ``total`` trials, or among ``total`` practice trials. ``seen``: all videos and the
    seam were looked at, so that answers are accepted.
    """

    id: str
    kind: str
    control: str | None
    position: int
    total: int
    prompt_id: str
    stimuli: tuple[str, ...]
    seen: bool


def now(hours_ahead: float = 0) -> str:
    """UTC time as text, to the millisecond; text, so that all databases give identical exports."""
    time = datetime.now(UTC) + timedelta(hours=hours_ahead)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def token_hash(token: str) -> str:
    """What is stored of a token. Tokens are random 128-bit numbers, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Store(Transactions):
    """The votes of one study. Safe to share between threads."""

    def __init__(self, bundle: Bundle, url: str | None = None, lock_seconds: float = LOCK_SECONDS) -> None:
        """Open the database and bring its tables to the newest schema.

        Args:
            bundle: the study whose votes these are.
            url: SQLAlchemy URL, or the path of an SQLite file; by default ``default_database``.
            lock_seconds: how long to wait for another writer before giving up.
        """
        self.bundle = bundle
        self.study_id = bundle.study.study_id
        super().__init__(url or default_database(bundle), lock_seconds)
        with self.write() as connection:
            connection.execute(db.insert_once(connection, db.study), {"study_id": self.study_id})

    def invite(
        self, count: int = 1, source: str = "invited", label: str | None = None, language: str | None = None
    ) -> list[str]:
        """Make personal tokens. They are returned once; only their hashes are stored."""
        tokens = [secrets.token_urlsafe(TOKEN_BYTES) for _ in range(count)]
        shared = {
            "study_id": self.study_id,
            "source": source,
            "label": label,
            "created_at": now(),
            "language": language,
        }
        rows = [shared | {"id": secrets.token_hex(8), "token_hash": token_hash(token)} for token in tokens]
        with self.write() as connection:
            connection.execute(db.rater.insert(), rows)
        return tokens

    def rater(self, token: str) -> Rater | None:
        """Who holds this token in this study, or None; also None once the invitation is revoked."""
        with self.read() as connection:
            row = connection.execute(db.rater.select().where(*self._holder(token))).first()
        if row is None:
            return None
        reached = {
            name: getattr(row, f"{name}_at") is not None
            for name in ("consented", "checked", "instructed", "rested", "withdrawn")
        }
        return Rater(row.id, row.number, row.language, completion_code=row.completion_code, **reached)

    def consent(self, token: str) -> None:
        """Record the consent, lease a place in the design and write down all its trials with their sides.

        Sending it twice changes nothing.

        Raises:
            Full: there is no place, or the study is closed.
        """
        with self.write() as connection:
            leases.lock(connection)
            row = self._require(connection, token)
            if row.number is not None:
                return
            if self._closed(connection):
                raise Full("the study is closed")
            last = sa.select(sa.func.max(db.rater.c.number)).where(db.rater.c.study_id == self.study_id)
            highest = connection.scalar(last)
            values = {
                "number": 0 if highest is None else highest + 1,
                "consent_version": self.bundle.settings.consent_version,
                "consented_at": now(),
            }
            connection.execute(db.rater.update().where(db.rater.c.id == row.id).values(**values))
            quota = self.bundle.settings.quota
            if not leases.take(connection, self.bundle, row.id, now(), now(quota.lease_hours)):
                raise Full(f"all {quota.raters} places are taken")

    def reached(self, token: str, step: str) -> None:
        """The rater has passed a page: ``checked``, ``instructed`` or ``rested``. Sending it twice changes nothing."""
        with self.write() as connection:
            row = self._require(connection, token)
            if getattr(row, f"{step}_at") is None:
                time = now()
                connection.execute(db.rater.update().where(db.rater.c.id == row.id).values({f"{step}_at": time}))
                self._renew(connection, row.id)
                if step == "instructed":
                    self._note_shown(connection, row.id, time)

    def speak(self, token: str, language: str) -> None:
        """Show this rater the study in another language."""
        if language not in self.bundle.settings.languages:
            raise Refused(f"there are no texts in {language!r}")
        with self.write() as connection:
            row = self._require(connection, token)
            connection.execute(db.rater.update().where(db.rater.c.id == row.id).values(language=language))

    def current(self, token: str) -> Assignment | None:
        """The rater's first trial without answers, or None when there is none."""
        with self.read() as connection:
            rater = self._require(connection, token)
            row = self._first_open(connection, rater.id)
            if row is None:
                return None
            practice = row.kind == PRACTICE
            alike = db.assignment.c.kind == PRACTICE if practice else db.assignment.c.kind != PRACTICE
            mine = connection.execute(
                sa.select(db.assignment.c.position).where(db.assignment.c.rater_id == rater.id, alike)
            ).scalars()
            positions = sorted(mine)
        stimuli = tuple(row.stimuli.split())
        return Assignment(
            row.id, row.kind, row.control, positions.index(row.position), len(positions), row.prompt_id, stimuli,
            row.seen_at is not None,
        )  # fmt: skip

    def following(self, trial: Assignment) -> list[str]:
        """Stimulus ids of the trial after this one, so that its videos can be fetched ahead."""
        this = sa.select(db.assignment.c.rater_id, db.assignment.c.position).where(db.assignment.c.id == trial.id)
        with self.read() as connection:
            found = connection.execute(this).first()
            if found is None:
                return []
            after = (db.assignment.c.rater_id == found.rater_id, db.assignment.c.position > found.position)
            row = connection.execute(
                db.assignment.select().where(*after).order_by(db.assignment.c.position).limit(1)
            ).first()
        return row.stimuli.split() if row else []

    def criteria(self, rater: Rater) -> list[str]:
        """The order of the questions for this rater."""
        return criterion_order(self.bundle.design_key, rater.number or 0, self.bundle.criteria)

    def seen(self, token: str, assignment_id: str) -> None:
        """The player says that all videos of the trial and the seam were looked at."""
        with self.write() as connection:
            row = self._mine(connection, self._require(connection, token).id, assignment_id)
            if row.seen_at is None:
                values = {"seen_at": now()}
                connection.execute(db.assignment.update().where(db.assignment.c.id == assignment_id).values(**values))

    def submit(self, token: str, assignment_id: str, answers: dict[str, str]) -> bool:
        """Store all answers of one trial in one transaction.

        What is stored stays: a second submit of the same trial (a double click, a second tab, a resent request)
        changes nothing.

        Returns:
            True if these answers were stored now, False if the trial had been answered before.

        Raises:
            Refused: the trial is not this rater's, the videos were not looked at, or the answers are not exactly one
                valid choice per criterion.
            StoreError: nothing was stored.
        """
        if set(answers) != set(self.bundle.criteria) or not set(answers.values()) <= set(self.bundle.choices):
            raise Refused(f"every question needs exactly one of the answers {', '.join(self.bundle.choices)}")
        with self.write() as connection:
            rater = self._require(connection, token)
            row = self._mine(connection, rater.id, assignment_id)
            if row.submitted_at is not None:
                return False
            if row.seen_at is None:
                raise Refused("the videos and the seam have to be looked at first")
            time = now()
            hashes = {"bundle_sha256": self.bundle.sha256, "settings_sha256": self.bundle.study.settings_sha256}
            rows = [
                {"assignment_id": assignment_id, "criterion": criterion, "choice": choice, "answered_at": time} | hashes
                for criterion, choice in answers.items()
            ]
            connection.execute(db.insert_once(connection, db.answer), rows)
            connection.execute(db.assignment.update().where(db.assignment.c.id == row.id).values(submitted_at=time))
            self._renew(connection, rater.id)
            if not self._note_shown(connection, rater.id, time):
                values = {"completed_at": time, "completion_code": secrets.token_hex(4).upper()}
                connection.execute(db.rater.update().where(db.rater.c.id == rater.id).values(**values))
                connection.execute(db.place.update().where(db.place.c.rater_id == rater.id).values(finished_at=time))
        return True

    def judged(self, trial: Assignment, answers: dict[str, str]) -> dict[str, bool]:
        """Which answers to a control trial are right, by criterion; empty for a trial of one's own opinion."""
        right = expected(self.bundle, trial.kind, trial.control, trial.stimuli)
        return {criterion: answers.get(criterion) == choice for criterion, choice in right.items()}

    def withdraw(self, token: str) -> None:
        """Delete all answers of a rater and free their place. The link stays known, to say that this was done."""
        with self.write() as connection:
            leases.lock(connection)
            row = self._require(connection, token)
            mine = sa.select(db.assignment.c.id).where(db.assignment.c.rater_id == row.id)
            connection.execute(db.answer.delete().where(db.answer.c.assignment_id.in_(mine)))
            leases.free(connection, row.id)
            values = dict.fromkeys(("label", "completed_at", "completion_code")) | {"withdrawn_at": now()}
            connection.execute(db.rater.update().where(db.rater.c.id == row.id).values(**values))

    def _holder(self, token: str) -> tuple[sa.ColumnElement[bool], ...]:
        valid = db.rater.c.revoked_at.is_(None)
        return (db.rater.c.token_hash == token_hash(token), db.rater.c.study_id == self.study_id, valid)

    def _require(self, connection: Connection, token: str) -> sa.Row:
        row = connection.execute(db.rater.select().where(*self._holder(token))).first()
        if row is None:
            raise Refused("this link is not valid for this study")
        if row.withdrawn_at is not None:
            raise Refused("this rater has left the study")
        return row

    def _mine(self, connection: Connection, rater_id: str, assignment_id: str) -> sa.Row:
        """A trial of this rater, locked until the transaction ends."""
        mine = (db.assignment.c.id == assignment_id, db.assignment.c.rater_id == rater_id)
        row = connection.execute(db.assignment.select().where(*mine).with_for_update()).first()
        if row is None:
            raise Refused("this trial does not belong to this link")
        return row

    def _closed(self, connection: Connection) -> bool:
        query = sa.select(db.study.c.closed_at).where(db.study.c.study_id == self.study_id)
        return connection.scalar(query) is not None

    def _renew(self, connection: Connection, rater_id: str) -> None:
        until = now(self.bundle.settings.quota.lease_hours)
        connection.execute(db.place.update().where(db.place.c.rater_id == rater_id).values(leased_until=until))

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
