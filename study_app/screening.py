"""Flags for raters whose answers may not be worth much. They stand beside the votes; nobody is dropped here."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

from study_app.bundle import Bundle
from study_app.organiser import seconds_between
from study_app.params import Screening
from study_app.session import GOLD, IDENTICAL, REPEATED, SCORED, expected

#: With fewer answers than this a share says nothing.
FEWEST = 10


def meanings(rules: Screening) -> dict[str, str]:
    """What each flag says under the rules of a study, for the organiser and the codebook."""
    return {
        "gold": f"missed more than {rules.gold_missed:.0%} of the gold trials",
        "fast": f"median time of a trial below {rules.seconds:g} seconds",
        "same": f"one answer makes up more than {rules.same_answer:.0%} of all scored answers",
        "side": f"left, or right, makes up more than {rules.one_side:.0%} of the scored answers that are no ties",
        "contradiction": f"more than {rules.contradicted:.0%} of the answers to repeated pairs favour the other method",
        "identical": "never answered that a clip and itself are alike",
    }


def flags(bundle: Bundle, votes: Iterable[Any]) -> dict[str, list[str]]:
    """The flags of each rater by id.

    Args:
        bundle: the study, for its thresholds and the right answers of its controls.
        votes: rows of ``study_app.export.votes``: every stored answer with its trial and rater.
    """
    by_rater: dict[str, list[Any]] = defaultdict(list)
    for vote in votes:
        by_rater[vote.rater].append(vote)
    return {rater: _flags(bundle, rows) for rater, rows in sorted(by_rater.items())}


def _flags(bundle: Bundle, rows: list[Any]) -> list[str]:
    rules: Screening = bundle.settings.screening
    scored = [row for row in rows if row.kind == SCORED]
    found = []
    gold = list(_judged(bundle, rows, GOLD))
    if gold and gold.count(False) / len(gold) > rules.gold_missed:
        found.append("gold")
    times = [
        seconds_between(row.shown_at, row.submitted_at)
        for row in {row.assignment: row for row in scored}.values()
        if row.shown_at and row.submitted_at
    ]
    if times and median(times) < rules.seconds:
        found.append("fast")
    choices = Counter(row.choice for row in scored)
    if len(scored) >= FEWEST and max(choices.values()) / len(scored) > rules.same_answer:
        found.append("same")
    sides = choices["left"] + choices["right"]
    if sides >= FEWEST and max(choices["left"], choices["right"]) / sides > rules.one_side:
        found.append("side")
    contradicted = list(_contradicted(bundle, rows))
    if contradicted and sum(contradicted) / len(contradicted) > rules.contradicted:
        found.append("contradiction")
    identical = list(_judged(bundle, rows, IDENTICAL))
    if identical and not any(identical):
        found.append("identical")
    return found


def _judged(bundle: Bundle, rows: list[Any], kind: str) -> Iterable[bool]:
    """Whether each answer to a control of this kind is right, where there is a right one."""
    for row in rows:
        if row.kind == kind:
            right = expected(bundle, kind, row.control, tuple(row.stimuli.split()))
            if row.criterion in right:
                yield row.choice == right[row.criterion]


def _contradicted(bundle: Bundle, rows: list[Any]) -> Iterable[bool]:
    """For each answer to a repeated trial, whether another video is favoured than the first time."""
    first = {
        (frozenset(row.stimuli.split()), row.criterion): favoured(bundle, row) for row in rows if row.kind == SCORED
    }
    for row in rows:
        before = first.get((frozenset(row.stimuli.split()), row.criterion))
        if row.kind == REPEATED and before is not None and favoured(bundle, row) is not None:
            yield favoured(bundle, row) != before


def favoured(bundle: Bundle, row: Any) -> str | None:
    """Id of the stimulus that an answer favours; None for a tie."""
    if row.choice == "tie":
        return None
    place = bundle.choices.index(row.choice) if bundle.study.mode == "best-of-four" else int(row.choice == "right")
    return row.stimuli.split()[place]
