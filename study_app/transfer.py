"""Votes into a database: from an export (the same tables again), or from a backup (everything, on any database)."""

import csv
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.errors import PanobenchError
from core.files import read_json, write_text
from study_app import database as db
from study_app.export import COLUMNS, restore
from study_app.store import Store, now, token_hash

BACKUP = "panobench.backup/1"
TABLES = (db.study, db.rater, db.place, db.assignment, db.answer)


def dump(store: Store) -> str:
    """A backup as JSON: every row of this study in every table, token hashes included, tokens not."""
    with store.read() as connection:
        tables = {
            table.name: [dict(row) for row in connection.execute(query).mappings()]
            for table, query in _rows_of_study(store.study_id)
        }
    for rows in tables.values():
        rows.sort(key=lambda row: [str(value) for value in row.values()])
    content = {"schema": BACKUP, "revision": db.HEAD, "study_id": store.study_id, "made_at": now(), "tables": tables}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def backup(store: Store, out: str | Path) -> None:
    """Write a backup; complete or absent."""
    write_text(out, dump(store))


def restore_backup(store: Store, path: str | Path) -> int:
    """Fill an empty database from a backup, on SQLite or PostgreSQL alike. Returns how many answers it holds.

    Raises:
        PanobenchError: not a backup of this study and version, or the database already holds raters.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != BACKUP:
        raise PanobenchError(f"{path}: not a backup; `panobench study backup` writes one")
    if content["study_id"] != store.study_id or content["revision"] != db.HEAD:
        raise PanobenchError(
            f"{path}: a backup of study {content['study_id']} at database version {content['revision']}; "
            f"this is study {store.study_id} at {db.HEAD}"
        )
    with store.write() as connection:
        _require_empty(connection, store)
        connection.execute(db.study.delete().where(db.study.c.study_id == store.study_id))
        for table in TABLES:
            rows = content["tables"][table.name]
            if rows:
                connection.execute(table.insert(), rows)
    return len(content["tables"]["answer"])


def import_votes(store: Store, path: str | Path) -> int:
    """Fill an empty database from an export, so that exporting again gives the same table. Returns how many answers.

    The raters' links are not in an export, so these raters cannot go on.

    Raises:
        PanobenchError: not an export of this study, or the database already holds raters.
    """
    path = Path(path)
    rows = read_rows(path)
    for number, row in enumerate(rows, 2):
        if row.keys() != COLUMNS.keys():
            lacking = ", ".join(sorted(COLUMNS.keys() - row.keys())) or "none"
            raise PanobenchError(f"{path}:{number}: not the columns of an export (missing: {lacking})")
        if row["study_id"] != store.study_id:
            raise PanobenchError(f"{path}:{number}: votes of study {row['study_id']}, this is {store.study_id}")
    controls = {entry.kind: entry.id for entry in store.bundle.study.controls if entry.use == "gold"}
    raters: dict[str, dict[str, Any]] = {}
    trials: dict[str, dict[str, Any]] = {}
    answers = []
    try:
        for row in rows:
            raters[row["rater"]] = {
                "id": row["rater"],
                "study_id": row["study_id"],
                "token_hash": token_hash(secrets.token_urlsafe(16)),
                "number": int(row["rater_number"]),
                "place": int(row["place"]),
                "created_at": row["consented_at"],
                **{name: row[name] for name in ("source", "language", "consent_version", "consented_at")},
                "completed_at": row["completed_at"] or None,
            }
            trials[row["assignment"]] = {
                "id": row["assignment"],
                "rater_id": row["rater"],
                "position": int(row["position"]),
                "control": controls[row["control"]] if row["control"] else None,
                **{name: row[name] for name in ("kind", "prompt_id", "stimuli")},
                **{name: row[name] or None for name in ("shown_at", "seen_at", "submitted_at")},
            }
            named = {name: row[name] for name in ("criterion", "choice", "bundle_sha256", "settings_sha256")}
            answers.append({"assignment_id": row["assignment"], "answered_at": row["submitted_at"]} | named)
    except (KeyError, ValueError) as error:
        raise PanobenchError(f"{path}: not an export of this study ({error})") from error
    with store.write() as connection:
        _require_empty(connection, store)
        for table, values in ((db.rater, raters.values()), (db.assignment, trials.values()), (db.answer, answers)):
            if rows:
                connection.execute(table.insert(), list(values))
    return len(answers)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an export, .csv or .json; from a CSV all values are text.

    Raises:
        PanobenchError: there is no such file, or it is no table.
    """
    if path.suffix == ".json":
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise PanobenchError(f"{path}: not an export (expected a list of rows)")
        return rows
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark before the first cell
            return [{name: restore(cell or "") for name, cell in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such file; `panobench study export` writes one") from None
    except (OSError, AttributeError, UnicodeDecodeError, csv.Error) as error:  # a row of too many cells is a list
        raise PanobenchError(f"{path}: not a readable CSV file ({error})") from error


def _rows_of_study(study_id: str) -> Iterable[tuple[sa.Table, sa.Select]]:
    raters = sa.select(db.rater.c.id).where(db.rater.c.study_id == study_id)
    trials = sa.select(db.assignment.c.id).where(db.assignment.c.rater_id.in_(raters))
    yield db.study, db.study.select().where(db.study.c.study_id == study_id)
    yield db.rater, db.rater.select().where(db.rater.c.study_id == study_id)
    yield db.place, db.place.select().where(db.place.c.study_id == study_id)
    yield db.assignment, db.assignment.select().where(db.assignment.c.rater_id.in_(raters))
    yield db.answer, db.answer.select().where(db.answer.c.assignment_id.in_(trials))


def _require_empty(connection: sa.Connection, store: Store) -> None:
    count = sa.select(sa.func.count()).select_from(db.rater).where(db.rater.c.study_id == store.study_id)
    if connection.scalar(count):
        raise PanobenchError(f"{store.place}: already holds raters of this study; name a new one with --database")
