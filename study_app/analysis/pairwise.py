"""Pairs with ties (modes half and full): answers to counts, and what is said about them beside the shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from study_app.analysis import davidson, obstacles
from study_app.analysis.votes import Votes
from study_app.texts import CHOICES

OUTCOMES = {CHOICES[0]: davidson.LEFT, CHOICES[2]: davidson.RIGHT, CHOICES[1]: davidson.TIE}


def tally(votes: Votes, criterion: str) -> np.ndarray:
    """(R, P, M, M, 3) answers: rater, prompt, left method, right method, outcome."""
    method = {name: index for index, name in enumerate(votes.methods)}
    prompt = {name: index for index, name in enumerate(votes.prompts)}
    rater = {name: index for index, name in enumerate(votes.raters)}
    counts = np.zeros((len(rater), len(prompt), len(method), len(method), 3), dtype=np.int32)
    for row in votes.of(criterion):
        left, right = (method[name] for name in row["methods"].split("|"))
        counts[rater[row["rater"]], prompt[row["prompt_id"]], left, right, OUTCOMES[row["choice"]]] += 1
    return counts


def obstacle(counts: np.ndarray, names: Sequence[str]) -> tuple[str, str] | None:
    """See ``study_app.analysis.obstacles``."""
    return obstacles.obstacle(counts, names)


def limit(counts: np.ndarray) -> list[float] | None:
    """See ``study_app.analysis.obstacles``."""
    return obstacles.limit(counts)


def estimate(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Of (B, M, M, 3) counts: ``shares`` (B, M), ``side`` (B,) as the odds e^g for the left, ``ties`` (B,) nu."""
    fitted = davidson.fit(counts)
    return {"shares": fitted.shares, "side": np.exp(fitted.side), "ties": fitted.ties}


def estimable(counts: np.ndarray) -> np.ndarray:
    """(B,) whether a resample still links all methods and has an answer that is no tie."""
    methods = counts.shape[1]
    linked = counts.sum(3)
    reached = ((linked + linked.transpose(0, 2, 1)) > 0) | np.eye(methods, dtype=bool)
    for _ in range(methods.bit_length()):
        reached = np.matmul(reached.astype(np.float32), reached.astype(np.float32)) > 0
    return reached.all((1, 2)) & (counts[..., : davidson.TIE].sum((1, 2, 3)) > 0)


def scores(counts: np.ndarray, a: int, b: int) -> np.ndarray:
    """(R,) answers for a less answers for b, of each rater."""
    left, right = counts[:, :, a, b].sum(1), counts[:, :, b, a].sum(1)
    return (left[:, davidson.LEFT] - left[:, davidson.RIGHT]) + (right[:, davidson.RIGHT] - right[:, davidson.LEFT])


def record(counts: np.ndarray) -> np.ndarray:
    """(..., M, M, 3) wins, losses and ties of the first method against the second, wherever it stood."""
    swapped = np.swapaxes(counts, -3, -2)
    return (
        counts[..., [davidson.LEFT, davidson.RIGHT, davidson.TIE]]
        + swapped[..., [davidson.RIGHT, davidson.LEFT, davidson.TIE]]
    )


def against(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Wins, losses and ties of every pair, a ahead of b in the order of ``names``."""
    found = record(counts)
    return [
        {"a": names[a], "b": names[b]}
        | dict(zip(("wins", "losses", "ties"), (int(n) for n in found[a, b]), strict=True))
        for a in range(len(names))
        for b in range(a + 1, len(names))
    ]


def rates(counts: np.ndarray) -> np.ndarray:
    """(..., M, M) share of wins of the first method against the second, a tie being half; NaN where none met."""
    found = record(counts).astype(float)
    number = found.sum(-1)
    return np.divide(found[..., 0] + found[..., 2] / 2, number, out=np.full(number.shape, np.nan), where=number > 0)


def per_prompt(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (P, M, M, 3): share of wins (P, M) of each method against all others, a tie being half, and of how many."""
    found = record(counts).astype(float).sum(-2)
    number = found.sum(-1)
    won = found[..., 0] + found[..., 2] / 2
    return np.divide(won, number, out=np.full(number.shape, np.nan), where=number > 0), number.astype(int)


def places(counts: np.ndarray) -> dict[str, int]:
    """How often each outcome was chosen."""
    total = counts.reshape(-1, 3).sum(0)
    return {name: int(total[index]) for name, index in OUTCOMES.items()}
