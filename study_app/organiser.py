"""What the organiser does with a study: invitations, quotas, opening and closing. Nothing here tells an answer."""

from typing import Any

import sqlalchemy as sa

from study_app import database as db
from study_app.session import PRACTICE, SCORED
from study_app.store import Store, now


def progress(store: Store) -> list[sa.Row]:
    """One row per link: id, source, label, number, place, dates, trials answered and trials in all (no practice)."""
    names = (
        "id", "source", "label", "language", "number", "place", "created_at", "consented_at", "completed_at",
        "withdrawn_at", "revoked_at",
    )  # fmt: skip
    query = (
        sa.select(
            *(db.rater.c[name] for name in names),
            sa.func.count(db.assignment.c.submitted_at).label("answered"),
            sa.func.count(db.assignment.c.id).label("trials"),
        )
        .outerjoin_from(
            db.rater, db.assignment, (db.assignment.c.rater_id == db.rater.c.id) & (db.assignment.c.kind != PRACTICE)
        )
        .where(db.rater.c.study_id == store.study_id)
        .group_by(db.rater.c.id)
    )
    with store.read() as connection:
        rows = list(connection.execute(query))
    return sorted(rows, key=lambda row: (row.number is None, row.number or 0, row.created_at, row.id))


def balance(store: Store) -> list[dict[str, Any]]:
    """Answered trials of each pair of (opaque) methods on each prompt, and how often the first stood first.

    Only scored trials, and no answers: this may be looked at while the study runs. In best-of-four mode there is one
    row per method and place.
    """
    methods = {
        stimulus.id: store.bundle.study.methods.index(stimulus.method) for stimulus in store.bundle.study.stimuli
    }
    query = (
        sa.select(db.assignment.c.prompt_id, db.assignment.c.stimuli)
        .join_from(db.assignment, db.rater)
        .where(
            db.rater.c.study_id == store.study_id,
            db.assignment.c.kind == SCORED,
            db.assignment.c.submitted_at.is_not(None),
        )
    )
    best = store.bundle.study.mode == "best-of-four"
    counts: dict[tuple[str, str], list[int]] = {}
    with store.read() as connection:
        for prompt, stimuli in connection.execute(query):
            shown = [methods[stimulus] for stimulus in stimuli.split()]
            if best:
                cells = [(f"method {method + 1}", place == 0) for place, method in enumerate(shown)]
            else:
                low, high = sorted(shown)
                cells = [(f"method {low + 1} / method {high + 1}", shown[0] == low)]
            for name, first in cells:
                entry = counts.setdefault((name, prompt), [0, 0])
                entry[0] += 1
                entry[1] += first
    return [
        {"compared": name, "prompt_id": prompt, "answered": count, "first_on_left": first}
        for (name, prompt), (count, first) in sorted(counts.items())
    ]


def revoke(store: Store, rater_ids: list[str]) -> int:
    """Make links invalid. What was answered stays; what was not goes to the next rater. Returns how many links."""
    mine = (db.rater.c.study_id == store.study_id, db.rater.c.id.in_(rater_ids), db.rater.c.revoked_at.is_(None))
    with store.write() as connection:
        found = list(connection.execute(sa.select(db.rater.c.id).where(*mine)).scalars())
        connection.execute(db.rater.update().where(db.rater.c.id.in_(found)).values(revoked_at=now()))
        connection.execute(db.place.update().where(db.place.c.rater_id.in_(found)).values(leased_until=""))
    return len(found)


def closed_at(store: Store) -> str | None:
    """When the study was closed, or None while it is open."""
    with store.read() as connection:
        return connection.scalar(sa.select(db.study.c.closed_at).where(db.study.c.study_id == store.study_id))


def set_closed(store: Store, closed: bool) -> None:
    """Close the study to new raters, or open it again. Who has begun may finish."""
    with store.write() as connection:
        here = db.study.c.study_id == store.study_id
        connection.execute(db.study.update().where(here).values(closed_at=now() if closed else None))


def seconds_per_trial(store: Store) -> dict[str, list[float]]:
    """Seconds from the first sight of each answered scored trial to its answers, by rater id."""
    query = (
        sa.select(db.rater.c.id, db.assignment.c.shown_at, db.assignment.c.submitted_at)
        .join_from(db.assignment, db.rater)
        .where(
            db.rater.c.study_id == store.study_id,
            db.assignment.c.kind == SCORED,
            db.assignment.c.submitted_at.is_not(None),
            db.assignment.c.shown_at.is_not(None),
        )
    )
    seconds: dict[str, list[float]] = {}
    with store.read() as connection:
        for rater, shown, submitted in connection.execute(query):
            seconds.setdefault(rater, []).append(seconds_between(shown, submitted))
    return seconds


def seconds_between(first: str, second: str) -> float:
    """Seconds from one stored time to another."""
    from datetime import datetime

    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()
