"""Raters driven through the app's own calls, and a look into the database past all code of ours."""

from typing import Any
from zlib import crc32

from sqlalchemy import create_engine, text

from study_app.session import PRACTICE
from study_app.store import Assignment, Store


def begin(store: Store) -> str:
    """A rater who has come to the first scored trial; returns the token."""
    (token,) = store.invite()
    enter(store, token)
    return token


def enter(store: Store, token: str) -> None:
    store.consent(token)
    for step in ("checked", "instructed"):
        store.reached(token, step)
    while (trial := store.current(token)) is not None and trial.kind == PRACTICE:
        answer(store, token, trial)


def clicked(store: Store, assignment_id: str, criterion: str) -> str:
    """An answer that the test can work out again from the trial."""
    choices = store.bundle.choices
    return choices[crc32(f"{assignment_id}{criterion}".encode()) % len(choices)]


def answers(store: Store, assignment_id: str) -> dict[str, str]:
    return {criterion: clicked(store, assignment_id, criterion) for criterion in store.bundle.criteria}


def answer(store: Store, token: str, trial: Assignment) -> bool:
    store.seen(token, trial.id)
    return store.submit(token, trial.id, answers(store, trial.id))


def rate_everything(store: Store, token: str) -> int:
    """Answer all trials, every submit sent twice; returns how many were new."""
    new = 0
    while (trial := store.current(token)) is not None:
        new += answer(store, token, trial)
        new += store.submit(token, trial.id, dict.fromkeys(store.bundle.criteria, store.bundle.choices[1]))
    return new


def raw(url: str, query: str) -> list[tuple[Any, ...]]:
    """What is in the database."""
    from study_app.database import as_url

    engine = create_engine(as_url(url))
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]
    finally:
        engine.dispose()
