"""Short transactions on the database of the votes, SQLite or PostgreSQL, with errors that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from study_app import database as db
from study_app.turns import Turns

LOCK_SECONDS = 20.0


class Transactions:
    """An open database. Safe to share between threads."""

    def __init__(self, url: str, lock_seconds: float = LOCK_SECONDS) -> None:
        """Open the database and bring its tables to the newest schema.

        Args:
            url: SQLAlchemy URL, or the path of an SQLite file.
            lock_seconds: how long to wait for another writer before giving up.
        """
        self.url = db.as_url(url)
        self.place = self.url.database or str(self.url)
        # SQLite's own waiting is polling, and unfair: threads of this process take turns first.
        self._turn = Turns() if self.url.get_backend_name() == "sqlite" else nullcontext()
        try:
            self._engine = db.make_engine(self.url, lock_seconds)
        except (SQLAlchemyError, ImportError) as error:
            raise db.StoreError(f"database {self.place}: {error}") from error
        with self._translated():
            db.migrate(self._engine, self.place)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its first statement (SQLite: BEGIN IMMEDIATE).

        A transaction that reads first and writes later would fail at once with "database is locked" whenever another
        one wrote in between. PostgreSQL locks the rows that are asked for instead.
        """
        with (
            self._translated(),
            self._turn,
            self._engine.connect().execution_options(write=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise db.StoreError(f"{self.place}: {db.reason(error)}") from error
