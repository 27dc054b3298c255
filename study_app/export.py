"""Votes out of the database: a CSV or JSON table with the methods' names, and a codebook that explains it."""

import csv
import io
from pathlib import Path
from typing import Any

from core.files import write_json, write_text
from study_app.bundle import Bundle, Key
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
    "method_left": "method of the video on the left",
    "method_right": "method of the video on the right",
    "criterion": "question that was answered",
    "choice": "left, tie or right, as clicked",
    "preferred": "method that the choice favours, or tie",
    "video_left": "id of the left video in its manifest",
    "video_right": "id of the right video in its manifest",
    "shown_at": "when the trial first came up, UTC",
    "submitted_at": "when its answers were stored, UTC",
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


def table(store: Store, key: Key) -> list[dict[str, Any]]:
    """One row per answer, ordered by rater, trial and criterion, with the methods unblinded through ``key``."""
    bundle = store.bundle
    prompts = {prompt.id: prompt.text for prompt in bundle.study.prompts}
    rows = []
    for vote in store.answers():
        left, right = key.stimuli[vote.left], key.stimuli[vote.right]
        row = {
            "study_id": bundle.study.study_id,
            **{name: getattr(vote, name) for name in COLUMNS if hasattr(vote, name)},
            "prompt": prompts[vote.prompt_id],
            "method_left": left.method,
            "method_right": right.method,
            "preferred": {"left": left.method, "right": right.method, "tie": "tie"}[vote.choice],
            "video_left": left.video_id,
            "video_right": right.video_id,
        }
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def export(store: Store, key: Key, out: str | Path) -> tuple[int, Path]:
    """Write the votes to ``out`` (.csv or .json) and the codebook beside it as ``<name>.codebook.json``.

    Returns:
        How many answers were written, and the path of the codebook.
    """
    out = Path(out)
    rows = table(store, key)
    if out.suffix == ".json":
        write_json(out, rows)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: neutralise(value) for name, value in row.items()} for row in rows)
        write_text(out, text.getvalue())
    codebook = out.with_suffix(".codebook.json")
    write_json(codebook, _codebook(store.bundle, key))
    return len(rows), codebook


def _codebook(bundle: Bundle, key: Key) -> dict[str, Any]:
    study = bundle.study
    return {
        "schema": "panobench.votes/1",
        "study_id": study.study_id,
        "title": study.title,
        "mode": study.mode,
        "language": study.language,
        "columns": COLUMNS,
        "choices": study.texts.choices.model_dump(),
        "criteria": [criterion.model_dump() for criterion in study.texts.criteria],
        "methods": sorted(method.name for method in key.methods.values()),
        "prompts": {prompt.id: prompt.text for prompt in study.prompts},
        "csv": "UTF-8; a text cell that begins with = + - @ ' or a control character has one more apostrophe before it",
    }
