"""How many raters and prompts a study needs: simulated votes through the app's own designs and the analysis' own tests.

Every rater and every prompt has strengths of its own around the common ones (normal, on the scale of log pi). Answers
of one rater, or on one prompt, therefore resemble each other, which makes votes worth less than their number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.significance import holm, sign_flip_totals
from study_app.analysis import davidson
from study_app.design import schedule, trials_per_rater

BEST = "best-of-four"
_CHUNK = 4_000_000  # simulated answers held at a time
_KEY = b"panobench study power"


@dataclass(frozen=True)
class World:
    """What is assumed about the methods, the raters and the prompts.

    Attributes:
        shares: Luce share of each method; the last one is the proposed method.
        tie_rate: probability of a tie between equally good videos.
        side: log odds for the left video.
        rater_sd: standard deviation of a method's log strength between raters.
        prompt_sd: the same between prompts.
        criteria: questions per trial, each with worlds of raters and prompts of its own.
    """

    shares: tuple[float, ...]
    tie_rate: float = 0.2
    side: float = 0.0
    rater_sd: float = 0.5
    prompt_sd: float = 0.5
    criteria: int = 5

    @property
    def strengths(self) -> np.ndarray:
        """(M,) log pi."""
        return np.log(np.array(self.shares) / sum(self.shares))

    @property
    def nu(self) -> float:
        """Davidson's parameter: P(tie) = nu / (2 + nu) between equals."""
        return 2 * self.tie_rate / (1 - self.tie_rate)


def from_win_rate(rate: float, methods: int) -> tuple[float, ...]:
    """Shares of equal methods and one that wins ``rate`` of its decided comparisons with each of them."""
    return (1.0,) * (methods - 1) + (rate / (1 - rate),)


def simulate(
    world: World, raters: int, prompts: int, mode: str, *, simulations: int, level: float = 0.05, seed: int = 0
) -> dict[str, Any]:
    """The power of one design.

    Args:
        world: what is assumed.
        raters: how many finish.
        prompts: how many there are.
        mode: half, full or best-of-four.
        simulations: studies to simulate.
        level: of the primary tests after Holm's correction.
        seed: of the simulation.

    Returns:
        ``power``: probability that the primary test against the strongest other method is significant, in the right
        direction, averaged over the criteria; ``all``: that all primary tests are; ``half_width``: half of the width
        that a right 95 % interval for the proposed method's share would have. Each with its Monte Carlo standard error
        as ``NAME_error``; and ``trials`` per rater.
    """
    vote = _best if mode == BEST else _pairs
    trials = _trials(raters, len(world.shares), prompts, mode)
    size = max(1, _CHUNK // (world.criteria * len(trials[0])))
    rng = np.random.default_rng([seed, raters, prompts])
    parts = [
        vote(world, trials, raters, prompts, min(size, simulations - first) * world.criteria, rng)
        for first in range(0, simulations, size)
    ]
    scores, shares = (np.concatenate(values) for values in zip(*parts, strict=True))
    found = _detected(scores, world.criteria, level)
    hardest = int(np.argmax(world.shares[:-1]))
    power, everything = found[:, :, hardest].mean(1), found.all((1, 2)).astype(float)
    deviation = float(shares.std(ddof=1))
    root = np.sqrt(simulations)
    return {
        "raters": raters,
        "prompts": prompts,
        "trials": trials_per_rater(len(world.shares), prompts, mode),
        "power": float(power.mean()),
        "power_error": float(power.std(ddof=1) / root),
        "all": float(everything.mean()),
        "all_error": float(everything.std(ddof=1) / root),
        "half_width": 1.96 * deviation,
        "half_width_error": float(1.96 * deviation / np.sqrt(2 * (len(shares) - 1))),
    }


def grid(
    world: World, raters: list[int], prompts: list[int], mode: str, step: Callable[[], Any], **options: Any
) -> list[dict[str, Any]]:
    """``simulate`` for every combination, by prompts and then by raters; ``step`` is called after each."""
    rows = []
    for number in prompts:
        for people in raters:
            rows.append(simulate(world, people, number, mode, **options))
            step()
    return rows


def smallest(rows: list[dict[str, Any]], target: float) -> dict[str, Any] | None:
    """The design with the fewest answers whose power reaches the target by more than twice its Monte Carlo error."""
    enough = [row for row in rows if row["power"] - 2 * row["power_error"] >= target]
    return min(enough, key=lambda row: (row["raters"] * row["trials"], row["raters"]), default=None)


# --- votes ------------------------------------------------------------------------------------------------------------

Trials = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rater, prompt, left and right method of each trial


def _trials(raters: int, methods: int, prompts: int, mode: str) -> Trials:
    rows = [
        (rater, trial.prompt, trial.left, trial.right)
        for rater in range(raters)
        for trial in schedule(_KEY, rater, methods, prompts, mode)
    ]
    rater, prompt, left, right = np.array(rows).T
    return rater, prompt, left, right


def _own(world: World, trials: Trials, raters: int, prompts: int, sets: int, rng: np.random.Generator) -> np.ndarray:
    """(B, N, M) strengths as the rater of each trial sees them on its prompt."""
    methods = len(world.shares)
    of_rater = rng.normal(0, world.rater_sd, (sets, raters, methods)).astype(np.float32)
    of_prompt = rng.normal(0, world.prompt_sd, (sets, prompts, methods)).astype(np.float32)
    return world.strengths.astype(np.float32) + of_rater[:, trials[0]] + of_prompt[:, trials[1]]


def _pairs(
    world: World, trials: Trials, raters: int, prompts: int, sets: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (B, R, M - 1) of the proposed method against each other one, and its estimated shares (B,)."""
    rater, _, left, right = trials
    methods, at = len(world.shares), np.arange(len(rater))
    own = _own(world, trials, raters, prompts, sets, rng)
    d = own[:, at, left] - own[:, at, right] + world.side
    weights = np.exp(d / 2), np.exp(-d / 2)
    drawn = rng.random(d.shape, dtype=np.float32) * (weights[0] + weights[1] + world.nu)
    won_left, won_right = drawn < weights[0], (drawn >= weights[0]) & (drawn < weights[0] + weights[1])
    proposed = methods - 1
    sign = (left == proposed).astype(np.float32) - (right == proposed)
    other = np.where(left == proposed, right, left)
    cell = np.where(sign != 0, rater * proposed + other, 0)
    scores = _summed((won_left.astype(np.float32) - won_right) * sign, cell, raters * proposed)
    outcomes = (won_left, won_right, ~(won_left | won_right))
    counts = np.stack([_summed(o, left * methods + right, methods**2) for o in outcomes], axis=-1)
    fitted = davidson.fit(counts.reshape(sets, methods, methods, 3))
    return scores.reshape(sets, raters, proposed), fitted.shares[:, -1]


def _best(
    world: World, trials: Trials, raters: int, prompts: int, sets: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """As ``_pairs``, for the best of all."""
    rater = trials[0]
    proposed = len(world.shares) - 1
    own = _own(world, trials, raters, prompts, sets, rng)
    chosen = (own + rng.gumbel(size=own.shape)).argmax(-1)
    mine = (chosen == proposed).astype(np.float32)
    by_rater = [_summed(mine - (chosen == other), rater, raters) for other in range(proposed)]
    return np.stack(by_rater, axis=-1), mine.mean(1)


def _summed(values: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    """(B, cells): sums of (B, N) values by cell."""
    from scipy.sparse import csr_array

    where = csr_array((np.ones(len(cell), np.float32), (cell, np.arange(len(cell)))), shape=(cells, len(cell)))
    return np.asarray(where @ values.T.astype(np.float32)).T.astype(np.float64)


def _detected(scores: np.ndarray, criteria: int, level: float) -> np.ndarray:
    """(S, C, M - 1) whether each primary test is significant in favour of the proposed method."""
    sets, raters, others = scores.shape
    p = sign_flip_totals(scores.transpose(0, 2, 1).reshape(-1, raters)).reshape(sets // criteria, criteria * others)
    favoured = scores.sum(1).reshape(p.shape) > 0
    return ((holm(p) < level) & favoured).reshape(-1, criteria, others)
