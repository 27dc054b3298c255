"""Votes out of the database: a CSV or JSON table with the methods' names, and a codebook that explains it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.files import write_json, write_text
from study_app import database as db
from study_app.bundle import Bundle, Key
from study_app.screening import favoured, flags, meanings
from study_app.session import PRACTICE, expected
from study_app.store import Store

#: Column -> meaning. The order is that of the table.
COLUMNS = {
    "study_id": "the study",
    "bundle_sha256": "SHA-256 of the study.json that the rater saw: texts, criteria, videos and design",
    "rater": "random id of the rater",
    "rater_number": "the rater's place in the design, from 0 in the order of consent",
    "source": "invited: by a personal link; open: began on the landing page",
    "consent_version": "version of the consent text that the rater agreed to",
    "assignment": "random id of the trial; one row per criterion shares it",
    "position": "place of the trial in the rater's order, from 0",
    "prompt_id": "prompt",
    "prompt": "text of the prompt as shown",
    "method_left": "method of the video on the left; in best-of-four mode of the first video",
    "method_right": "method of the video on the right; in best-of-four mode of the second video",
    "criterion": "question that was answered",
    "choice": "left, tie or right, as clicked; in best-of-four mode the place, from a",
    "preferred": "method that the choice favours, or tie; empty in a gold or identical trial",
    "video_left": "id of the left video in its manifest",
    "video_right": "id of the right video in its manifest",
    "shown_at": "when the trial first came up, UTC",
    "submitted_at": "when its answers were stored, UTC",
    "kind": "scored; or a control, which enters no score: gold, identical, repeated",
    "control": "which damage a gold trial has, empty otherwise",
    "expected": "the right answer of a gold or identical trial, empty where every answer is one's own opinion",
    "methods": "methods of all videos from left to right, with | between; + and the damage for a damaged copy",
    "stimuli": "opaque ids of the videos from left to right, with a space between",
    "seen_at": "when all videos and the seam had been looked at, UTC",
    "flags": "screening flags of the rater, with a space between; nobody is left out of this table",
    "language": "language that the rater read",
    "place": "the rater's place in the design; one that a rater left is taken by the next",
    "settings_sha256": "SHA-256 of the bundle's study.yaml: texts, criteria, quotas and screening rules",
    "consented_at": "when the rater agreed, UTC",
    "completed_at": "when the rater finished, UTC; empty if they did not",
}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def neutralise(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe, and so does text that begins with one.

    The second rule makes it reversible: ``restore`` takes one leading apostrophe away.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith((*FORMULA, "'")) else cell


def restore(cell: str) -> str:
    """What the cell was before ``neutralise``."""
    return cell.removeprefix("'")


def votes(store: Store) -> list[sa.Row]:
    """Every stored answer with its trial and rater, practice left out, ordered by rater, trial and criterion."""
    query = (
        sa.select(
            db.rater.c.id.label("rater"),
            db.rater.c.number.label("rater_number"),
            *(
                db.rater.c[name]
                for name in ("source", "language", "place", "consent_version", "consented_at", "completed_at")
            ),
            db.assignment.c.id.label("assignment"),
            *(
                db.assignment.c[name]
                for name in (
                    "position",
                    "kind",
                    "control",
                    "prompt_id",
                    "stimuli",
                    "shown_at",
                    "seen_at",
                    "submitted_at",
                )
            ),
            *(db.answer.c[name] for name in ("criterion", "choice", "bundle_sha256", "settings_sha256")),
        )
        .join_from(db.answer, db.assignment)
        .join(db.rater)
        .where(db.rater.c.study_id == store.study_id, db.assignment.c.kind != PRACTICE)
    )
    with store.read() as connection:
        rows = list(connection.execute(query))
    # Databases sort text differently; Python sorts it in one way.
    return sorted(rows, key=lambda row: (row.rater_number, row.rater, row.position, row.criterion))


def table(store: Store, key: Key) -> list[dict[str, Any]]:
    """One row per answer, ordered by rater, trial and criterion, with the methods unblinded through ``key``."""
    bundle = store.bundle
    stored = votes(store)
    flagged = flags(bundle, stored)
    controls = {control.id: control.kind for control in bundle.study.controls}
    first_language = bundle.settings.languages[0]
    rows = []
    for vote in stored:
        shown = vote.stimuli.split()
        keyed = [key.stimuli[stimulus] for stimulus in shown]
        right = expected(bundle, vote.kind, vote.control, tuple(shown))
        best = favoured(bundle, vote)
        method = "" if right or vote.control else "tie" if best is None else key.stimuli[best].method
        row = {name: _text(getattr(vote, name)) for name in COLUMNS if hasattr(vote, name)} | {
            "study_id": store.study_id,
            "prompt": bundle.prompts[vote.prompt_id],
            "method_left": keyed[0].method,
            "method_right": keyed[1].method,
            "preferred": method,
            "video_left": keyed[0].video_id,
            "video_right": keyed[1].video_id,
            "control": controls.get(vote.control or "", ""),
            "expected": right.get(vote.criterion, ""),
            "methods": "|".join(f"{k.method}+{k.damage}" if k.damage else k.method for k in keyed),
            "flags": " ".join(flagged[vote.rater]),
            "language": vote.language or first_language,
        }
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def _text(value: Any) -> Any:
    return "" if value is None else value


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The table as CSV, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: neutralise(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_json(rows: list[dict[str, Any]]) -> str:
    """The table as JSON."""
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def export(store: Store, key: Key, out: str | Path) -> tuple[int, Path]:
    """Write the votes to ``out`` (.csv or .json) and the codebook beside it as ``<name>.codebook.json``.

    Returns:
        How many answers were written, and the path of the codebook.
    """
    out = Path(out)
    rows = table(store, key)
    write_text(out, as_json(rows) if out.suffix == ".json" else as_csv(rows))
    codebook = out.with_suffix(".codebook.json")
    write_json(codebook, make_codebook(store.bundle, key))
    return len(rows), codebook


def make_codebook(bundle: Bundle, key: Key) -> dict[str, Any]:
    """What the columns, choices, criteria, methods and flags of the table mean."""
    study, settings, texts = bundle.study, bundle.settings, bundle.texts()
    return {
        "schema": "panobench.votes/2",
        "study_id": study.study_id,
        "title": settings.title or texts.landing.title,
        "mode": study.mode,
        "languages": settings.languages,
        "columns": COLUMNS,
        "choices": texts.choices.model_dump() if study.mode != "best-of-four" else list(bundle.choices),
        "criteria": [criterion.model_dump() for criterion in texts.criteria],
        "methods": sorted(method.name for method in key.methods.values()),
        "prompts": bundle.prompts,
        "screening": settings.screening.model_dump(),
        "flags": meanings(settings.screening),
        "scores": "only rows with kind = scored are the design's; the others are controls",
        "csv": "UTF-8; a text cell that begins with = + - @ ' or a control character has one more apostrophe before it",
    }
