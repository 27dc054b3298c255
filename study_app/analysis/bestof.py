"""Best of all (mode best-of-four): the same questions about it that ``study_app.analysis.pairwise`` answers for pairs.

Every trial shows every method, so the Plackett-Luce model of the first choice has its maximum at the plain shares of
the choices (the multinomial's), which is what the paper's Table 1 holds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from study_app.analysis.votes import Votes
from study_app.texts import PLACES


def tally(votes: Votes, criterion: str) -> np.ndarray:
    """(R, P, K, M) answers: rater, prompt, place that was chosen, method that stood there."""
    method = {name: index for index, name in enumerate(votes.methods)}
    prompt = {name: index for index, name in enumerate(votes.prompts)}
    rater = {name: index for index, name in enumerate(votes.raters)}
    counts = np.zeros((len(rater), len(prompt), len(method), len(method)), dtype=np.int32)
    for row in votes.of(criterion):
        place = PLACES.index(row["choice"])
        chosen = method[row["methods"].split("|")[place]]
        counts[rater[row["rater"]], prompt[row["prompt_id"]], place, chosen] += 1
    return counts


def obstacle(counts: np.ndarray, names: Sequence[str]) -> tuple[str, str] | None:
    """Shares of choices exist as soon as there is a choice."""
    return None if counts.sum() else ("no votes", "Nobody has answered this question.")


def limit(counts: np.ndarray) -> None:
    """Shares of choices are never a limit."""


def estimate(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Of (B, K, M) counts: ``shares`` (B, M)."""
    chosen = counts.sum(1).astype(float)
    return {"shares": chosen / chosen.sum(1, keepdims=True)}


def estimable(counts: np.ndarray) -> np.ndarray:
    """(B,) whether a resample has an answer."""
    return counts.sum((1, 2)) > 0


def scores(counts: np.ndarray, a: int, b: int) -> np.ndarray:
    """(R,) choices of a less choices of b, of each rater."""
    chosen = counts.sum((1, 2))
    return chosen[:, a] - chosen[:, b]


def against(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """How often each of two was chosen; a trial that chose a third one is in neither number."""
    chosen = counts.sum(0)
    return [
        {"a": names[a], "b": names[b], "wins": int(chosen[a]), "losses": int(chosen[b]), "ties": 0}
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]


def rates(counts: np.ndarray) -> np.ndarray:
    """(..., M, M) share of the first method among the choices of either; NaN where neither was chosen."""
    chosen = counts.sum(-2).astype(float)
    number = chosen[..., :, None] + chosen[..., None, :]
    first = np.broadcast_to(chosen[..., :, None], number.shape)
    return np.divide(first, number, out=np.full(number.shape, np.nan), where=number > 0)


def per_prompt(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (P, K, M): share of the choices (P, M) of each method, and of how many."""
    chosen = counts.sum(1)
    number = np.broadcast_to(chosen.sum(1, keepdims=True), chosen.shape)
    return np.divide(chosen, number, out=np.full(chosen.shape, np.nan), where=number > 0), number


def places(counts: np.ndarray) -> dict[str, int]:
    """How often each place was chosen; each method stands on each equally often."""
    chosen = counts.sum(1)
    return {PLACES[index]: int(number) for index, number in enumerate(chosen)}
