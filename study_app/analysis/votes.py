"""The votes as the analysis reads them: from the app's database, or from an export of it, which give the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import PanobenchError
from core.files import read_json
from study_app.session import SCORED
from study_app.texts import CHOICES, PLACES
from study_app.transfer import read_rows

#: What an export must have to be analysed; older ones lack some of the other columns.
NEEDED = (
    "study_id", "rater", "assignment", "prompt_id", "methods", "criterion", "choice", "preferred", "kind", "flags",
)  # fmt: skip


@dataclass(frozen=True)
class Votes:
    """All answers of a study.

    Attributes:
        rows: one answer each, with the columns of ``study_app.export``; controls included.
        titles: criterion -> its title, in the order of the study.
        methods: names, sorted.
        prompts: prompt id -> text.
        best_of: whether the best of all videos was picked (best-of-four) instead of the better of two.
    """

    study_id: str
    rows: list[dict[str, Any]]
    titles: dict[str, str]
    methods: list[str]
    prompts: dict[str, str]
    best_of: bool

    @cached_property
    def scored(self) -> list[dict[str, Any]]:
        """The answers that the design asked for; controls are left out."""
        return [row for row in self.rows if row["kind"] == SCORED]

    @cached_property
    def raters(self) -> list[str]:
        """Ids of those who gave a scored answer, sorted."""
        return sorted({row["rater"] for row in self.scored})

    @property
    def flagged(self) -> dict[str, list[str]]:
        """Rater -> screening flags, of those that have any."""
        return {row["rater"]: row["flags"].split() for row in self.rows if row["flags"]}

    def of(self, criterion: str) -> list[dict[str, Any]]:
        """The scored answers to one question."""
        return [row for row in self.scored if row["criterion"] == criterion]

    def without(self, raters: Iterable[str]) -> "Votes":
        """The same study less some raters."""
        gone = set(raters)
        kept = [row for row in self.rows if row["rater"] not in gone]
        return Votes(self.study_id, kept, self.titles, self.methods, self.prompts, self.best_of)


def from_rows(rows: Sequence[Mapping[str, Any]], codebook: Mapping[str, Any] | None = None, source: str = "") -> Votes:
    """Check the rows of an export, and put them in order.

    Args:
        rows: as ``study_app.export.table`` gives them.
        codebook: the export's; it tells what was asked but not answered.
        source: names the file in messages.

    Raises:
        PanobenchError: names the row and what is wrong with it.
    """
    book = codebook or {}
    for number, row in enumerate(rows, 2):
        lacking = [name for name in NEEDED if not isinstance(row.get(name), str)]
        if lacking:
            raise PanobenchError(f"{source}:{number}: not a row of an export (missing: {', '.join(lacking)})")
        places = PLACES if row["choice"] in PLACES else CHOICES
        shown = row["methods"].split("|")
        if row["choice"] not in places or (places is PLACES and PLACES.index(row["choice"]) >= len(shown)):
            raise PanobenchError(f"{source}:{number}: choice is '{row['choice']}', expected {', '.join(CHOICES)}")
        if row["kind"] == SCORED and len(set(shown)) != len(shown):
            raise PanobenchError(f"{source}:{number}: a scored trial shows a method twice ({row['methods']})")
    studies = {row["study_id"] for row in rows} | ({book["study_id"]} if "study_id" in book else set())
    if len(studies) > 1:
        raise PanobenchError(f"{source}: votes of several studies ({', '.join(sorted(studies))}); analyse each alone")
    keys = [(row["assignment"], row["criterion"]) for row in rows]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise PanobenchError(f"{source}: trial {twice[0]} answers '{twice[1]}' twice")
    modes = {row["choice"] in PLACES for row in rows if row["kind"] == SCORED}
    if len(modes) > 1:
        raise PanobenchError(f"{source}: holds answers of pairs and of best-of-four; analyse each alone")
    scored = [row for row in rows if row["kind"] == SCORED]
    asked = {entry["id"]: entry["title"] for entry in book.get("criteria", [])}
    asked |= {row["criterion"]: row["criterion"] for row in scored if row["criterion"] not in asked}
    methods = set(book.get("methods", [])) | {name for row in scored for name in row["methods"].split("|")}
    prompts = dict(book.get("prompts", {})) | {row["prompt_id"]: row.get("prompt", "") for row in scored}
    best = book["mode"] == "best-of-four" if "mode" in book else True in modes
    study_id = studies.pop() if studies else ""
    return Votes(study_id, [dict(row) for row in rows], asked, sorted(methods), dict(sorted(prompts.items())), best)


def read_export(path: str | Path) -> Votes:
    """Votes from a .csv or .json that ``panobench study export`` wrote, with its codebook if that lies beside it.

    Raises:
        PanobenchError: no such file, or not an export.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".json"):
        raise PanobenchError(f"{path}: votes are read from the .csv or .json of `panobench study export`")
    rows = read_rows(path)
    book = path.with_suffix(".codebook.json")
    codebook = read_json(book) if book.is_file() else None
    if codebook is not None and not str(codebook.get("schema", "")).startswith("panobench.votes/"):
        raise PanobenchError(f"{book}: not a codebook of votes")
    if not rows and codebook is None:
        raise PanobenchError(f"{path}: holds no vote, and there is no {book.name} that says what was asked")
    return from_rows(rows, codebook, str(path))
