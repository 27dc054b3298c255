"""Places in the design, leased to raters: who leaves gives what is unanswered to the next one, so that counts come out.

Each function is part of its caller's write transaction.
"""

import secrets

import sqlalchemy as sa
from sqlalchemy import Connection

from study_app import database as db
from study_app.bundle import Bundle
from study_app.session import PRACTICE, Planned, practice, session

#: Number of PostgreSQL's advisory lock while places are given out.
PLACES_LOCK = 360_002


def lock(connection: Connection) -> None:
    """One at a time through the giving out of places (SQLite's BEGIN IMMEDIATE has seen to it already)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": PLACES_LOCK})


def take(connection: Connection, bundle: Bundle, rater_id: str, time: str, until: str) -> bool:
    """Lease a place to a rater: one whose rater has left, else a new one.

    Args:
        connection: of the transaction.
        bundle: the study.
        rater_id: who takes it.
        time: now.
        until: when the lease ends unless the rater is seen again.

    Returns:
        False if the quota of raters is reached and nobody has left.
    """
    study_id, limit = bundle.study.study_id, bundle.settings.quota.raters
    left = (db.place.c.study_id == study_id, db.place.c.finished_at.is_(None), db.place.c.leased_until < time)
    query = db.place.select().where(*left).order_by(db.place.c.number).limit(1).with_for_update(skip_locked=True)
    free = connection.execute(query).first()
    if free is not None:
        number = free.number
        here = (db.place.c.study_id == study_id, db.place.c.number == number)
        connection.execute(db.place.update().where(*here).values(rater_id=rater_id, leased_until=until))
        unanswered = (db.assignment.c.rater_id == free.rater_id, db.assignment.c.submitted_at.is_(None))
        connection.execute(db.assignment.delete().where(*unanswered, db.assignment.c.kind == PRACTICE))
        values = {"rater_id": rater_id, "shown_at": None, "seen_at": None}
        connection.execute(db.assignment.update().where(*unanswered).values(**values))
    else:
        last = sa.select(sa.func.max(db.place.c.number)).where(db.place.c.study_id == study_id)
        highest = connection.scalar(last)
        number = 0 if highest is None else highest + 1
        if limit is not None and number >= limit:
            return False
        row = {"study_id": study_id, "number": number, "rater_id": rater_id, "leased_until": until}
        connection.execute(db.place.insert().values(**row))
        _write(connection, rater_id, list(enumerate(session(bundle, number))))
    trials = practice(bundle, number)
    _write(connection, rater_id, [(index - len(trials), trial) for index, trial in enumerate(trials)])
    connection.execute(db.rater.update().where(db.rater.c.id == rater_id).values(place=number))
    return True


def free(connection: Connection, rater_id: str) -> None:
    """Give a rater's whole place back; their answers must be deleted already."""
    mine = db.assignment.c.rater_id == rater_id
    connection.execute(db.assignment.delete().where(mine, db.assignment.c.kind == PRACTICE))
    connection.execute(db.assignment.update().where(mine).values(shown_at=None, seen_at=None, submitted_at=None))
    values = {"leased_until": "", "finished_at": None}
    connection.execute(db.place.update().where(db.place.c.rater_id == rater_id).values(**values))


def _write(connection: Connection, rater_id: str, trials: list[tuple[int, Planned]]) -> None:
    rows = [
        {
            "id": secrets.token_hex(12),
            "rater_id": rater_id,
            "position": position,
            "kind": trial.kind,
            "control": trial.control,
            "prompt_id": trial.prompt_id,
            "stimuli": " ".join(trial.stimuli),
        }
        for position, trial in trials
    ]
    if rows:
        connection.execute(db.assignment.insert(), rows)
