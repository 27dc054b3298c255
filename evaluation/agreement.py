"""Do the metrics agree with people? Per criterion of the study, for every metric, and for the best of them together.

*Pairwise accuracy*: share of the votes that were no tie in which the metric also prefers the video that the rater
preferred; where the metric has both alike it counts half, so .5 is a coin. *Kendall tau* (b): the metric's order of the
methods on a prompt against the order of their win rates there, mean over prompts. Intervals resample raters and prompts
independently (two-way percentile bootstrap): votes alone would look far too certain.

A metric chosen because it fits these votes best looks better than it is. So the accuracy that is given for "the best
metric" and "the best combination" is of votes that took no part in the choice: for every prompt and every half of the
raters, choice and weights come from the other prompts and the other half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from core.errors import PanobenchError
from evaluation.findings import CRITERIA

#: Fewer than this and nothing is computed: the interval of an accuracy would be wider than what tells metrics apart.
LEAST_VOTES, LEAST_RATERS, LEAST_PROMPTS = 100, 5, 4
#: Ridge of the combination, per vote; fixed, because choosing it would need votes of its own.
_RIDGE = 0.05


@dataclass(frozen=True)
class Ballot:
    """The votes of one criterion as arrays.

    Attributes:
        rater: (N,) index of the rater of each duel.
        prompt: (N,) index of its prompt.
        a: (N,) index of its first method.
        b: (N,) index of its second method.
        y: (N,) 1 if the first was preferred, 0 if the second, .5 for a tie.
        raters: how many.
        prompts: their ids, sorted.
        methods: names, sorted.
    """

    rater: np.ndarray
    prompt: np.ndarray
    a: np.ndarray
    b: np.ndarray
    y: np.ndarray
    raters: int
    prompts: Sequence[str]
    methods: Sequence[str]

    @classmethod
    def of(cls, duels: pd.DataFrame) -> "Ballot":
        """From the duels of one criterion."""
        raters, prompts = sorted(duels["rater"].unique()), sorted(duels["prompt_id"].unique())
        methods = sorted({*duels["a"], *duels["b"]})
        index = {name: i for i, name in enumerate(methods)}
        return cls(
            pd.Categorical(duels["rater"], raters).codes.astype(int),
            pd.Categorical(duels["prompt_id"], prompts).codes.astype(int),
            duels["a"].map(index).to_numpy(),
            duels["b"].map(index).to_numpy(),
            duels["y"].to_numpy(dtype=float),
            len(raters),
            prompts,
            methods,
        )


def agreement(
    duels: pd.DataFrame,  # from votes.read_votes
    scores: pd.DataFrame,  # long table of all methods, as scores.parquet
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """What ``agreement.json`` holds: criterion -> counts, ``people``, ``metrics``, ``best`` and ``combination``.

    A criterion with too few votes has ``too_few`` (a sentence) in place of the results. Metrics without a direction
    prefer nothing, and are left out.

    Raises:
        PanobenchError: votes and scores share no two methods on a common prompt.
    """
    values, metrics = oriented(scores)
    usable = duels[_known(duels, values)]
    if usable.empty:
        voted, scored = sorted({*duels["a"], *duels["b"]}), sorted(scores["method"].unique())
        raise PanobenchError(
            f"votes are on {', '.join(voted)}, scores of {', '.join(scored)}: no two of them share a prompt"
        )
    found: dict[str, Any] = {}
    for criterion in CRITERIA:
        mine = usable[usable["criterion"] == criterion]
        entry: dict[str, Any] = {
            "votes": len(mine),
            "ties": int((mine["y"] == 0.5).sum()),
            "raters": int(mine["rater"].nunique()),
            "prompts": int(mine["prompt_id"].nunique()),
        }
        short = too_few(entry)
        found[criterion] = entry | (
            {"too_few": short} if short else _results(mine, values, metrics, resamples, level, seed)
        )
    return found


def too_few(counts: Mapping[str, int]) -> str | None:
    """Why nothing is computed, or None."""
    untied = counts["votes"] - counts["ties"]
    lacking = [
        f"{have} {what} (at least {least})"
        for what, have, least in (
            ("votes that are no tie", untied, LEAST_VOTES),
            ("raters", counts["raters"], LEAST_RATERS),
            ("prompts", counts["prompts"], LEAST_PROMPTS),
        )
        if have < least
    ]
    return f"too few votes: {', '.join(lacking)}" if lacking else None


def oriented(scores: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Values turned so that higher is better: a row per (method, prompt), a column per metric with a direction.

    Metrics that some video lacks are left out.
    """
    directed = scores[scores["direction"] != "none"]
    sign = np.where(directed["direction"] == "higher", 1.0, -1.0)
    table = directed.assign(value=directed["value"] * sign).pivot_table(
        index=["method", "prompt_id"], columns="metric", values="value", aggfunc="mean", sort=False
    )
    table = table.dropna(axis=1)
    if table.empty:
        raise PanobenchError("no metric with a direction was measured on all videos; score them again, alike")
    return table, list(table.columns)


def _known(duels: pd.DataFrame, values: pd.DataFrame) -> np.ndarray:
    have = set(values.index)
    return np.array(
        [(a, p) in have and (b, p) in have for a, b, p in zip(duels["a"], duels["b"], duels["prompt_id"], strict=True)],
        dtype=bool,
    )


def _results(
    duels: pd.DataFrame, values: pd.DataFrame, metrics: list[str], resamples: int, level: float, seed: int
) -> dict[str, Any]:
    ballot = Ballot.of(duels)
    grid = values.reindex(pd.MultiIndex.from_product([ballot.methods, ballot.prompts]))  # NaN where not generated
    table = grid.to_numpy().reshape(len(ballot.methods), len(ballot.prompts), len(metrics))
    draws = two_way_draws(ballot, resamples, seed)
    lead = table[ballot.a, ballot.prompt] - table[ballot.b, ballot.prompt]  # (N, K)
    hits = agreed(lead, ballot.y)
    rows = {}
    for index, name in enumerate(metrics):
        rows[name] = {
            "accuracy": accuracy(hits[:, index], ballot, draws, level),
            "tau": kendall(table[:, :, index], ballot, draws, level),
        }
    single, combined = held_out(lead, ballot, metrics, seed)
    best = metrics[int(np.nanmean(hits, axis=0).argmax())]
    weights = fit(_standardised(lead), ballot.y)
    order = np.argsort(-weights, kind="stable")
    return {
        "people": accuracy(majority_hits(ballot), ballot, draws, level),
        "metrics": rows,
        "best": {
            "metric": best,
            "held_out": accuracy(single[0], ballot, draws, level),
            "chosen": single[1],
        },
        "combination": {
            "weights": {metrics[i]: round(float(weights[i]), 4) for i in order if weights[i] > 1e-3},
            "held_out": accuracy(combined, ballot, draws, level),
        },
    }


# --- one metric ------------------------------------------------------------------------------------------------------


def agreed(lead: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N, K): 1 where the metric prefers what the rater preferred, 0 where not, .5 if it has both alike; NaN at ties.

    Args:
        lead: (N, K) oriented value of the first minus the second.
        y: (N,) votes.
    """
    hits = 0.5 + 0.5 * np.sign(lead) * np.sign(y - 0.5)[:, None]
    hits[y == 0.5] = np.nan
    return hits


def two_way_draws(ballot: Ballot, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each rater (B, R) and each prompt (B, P) is drawn, independently, in each resample."""
    generator = np.random.default_rng(seed)
    raters, prompts = ballot.raters, len(ballot.prompts)
    return (
        generator.multinomial(raters, np.full(raters, 1 / raters), resamples).astype(float),
        generator.multinomial(prompts, np.full(prompts, 1 / prompts), resamples).astype(float),
    )


def accuracy(
    hits: np.ndarray, ballot: Ballot, draws: tuple[np.ndarray, np.ndarray], level: float
) -> dict[str, float | None]:
    """Mean of (N,) hits over the votes that have one, with its two-way interval."""
    told = np.isfinite(hits)
    shape = (ballot.raters, len(ballot.prompts))
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (ballot.rater[told], ballot.prompt[told]), hits[told])
    np.add.at(count, (ballot.rater[told], ballot.prompt[told]), 1)
    raters, prompts = draws
    above = np.einsum("br,rp,bp->b", raters, total, prompts, optimize=True)
    below = np.einsum("br,rp,bp->b", raters, count, prompts, optimize=True)
    return _interval(total.sum() / count.sum() if count.any() else np.nan, above[below > 0] / below[below > 0], level)


def kendall(
    values: np.ndarray, ballot: Ballot, draws: tuple[np.ndarray, np.ndarray], level: float
) -> dict[str, float | None]:
    """Mean over prompts of Kendall's tau-b between (M, P) oriented values and the methods' win rates, with interval."""
    shape = (ballot.raters, len(ballot.prompts), len(ballot.methods))
    wins, duels = np.zeros(shape), np.zeros(shape)
    for method, points in ((ballot.a, ballot.y), (ballot.b, 1 - ballot.y)):
        np.add.at(wins, (ballot.rater, ballot.prompt, method), points)
        np.add.at(duels, (ballot.rater, ballot.prompt, method), 1)
    first, second = np.triu_indices(len(ballot.methods), 1)
    by_metric = np.nan_to_num(np.sign(values[first] - values[second])).T  # (P, pairs)

    def taus(raters: np.ndarray) -> np.ndarray:
        """(B, P), NaN where one of the two orders has no order."""
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = np.tensordot(raters, wins, 1) / np.tensordot(raters, duels, 1)
            by_people = np.nan_to_num(np.sign(rates[..., first] - rates[..., second]))
            together = (by_people * by_metric).sum(axis=-1)
            return together / np.sqrt((by_people**2).sum(axis=-1) * (by_metric**2).sum(axis=-1))

    def mean(found: np.ndarray, weights: np.ndarray) -> np.ndarray:
        weights = weights * np.isfinite(found)
        with np.errstate(invalid="ignore"):
            return (np.nan_to_num(found) * weights).sum(axis=1) / weights.sum(axis=1)

    raters, prompts = draws
    drawn = mean(taus(raters), prompts)
    own = mean(taus(np.ones((1, ballot.raters))), np.ones((1, len(ballot.prompts))))[0]
    return _interval(own, drawn[np.isfinite(drawn)], level)


def _interval(value: float, drawn: np.ndarray, level: float) -> dict[str, float | None]:
    if not np.isfinite(value) or not len(drawn):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def majority_hits(ballot: Ballot) -> np.ndarray:
    """(N,): whether the majority of the *other* raters, on the same two videos, agrees with each vote.

    How well people foretell people; no metric of the video alone can be expected to do better for long.
    """
    votes = np.sign(ballot.y - 0.5)
    pairs = pd.MultiIndex.from_arrays([ballot.prompt, ballot.a, ballot.b])
    everyone = pd.Series(votes, index=pairs).groupby(level=[0, 1, 2]).transform("sum").to_numpy()
    own = pd.Series(votes).groupby([ballot.prompt, ballot.a, ballot.b, ballot.rater]).transform("sum").to_numpy()
    return agreed((everyone - own)[:, None], ballot.y)[:, 0]


# --- numbers for people ----------------------------------------------------------------------------------------------


def percent(value: Mapping[str, float | None]) -> str:
    """``71 % [64, 78]``."""
    if value["value"] is None or value["low"] is None or value["high"] is None:
        return "-"
    return f"{100 * value['value']:.0f} % [{100 * value['low']:.0f}, {100 * value['high']:.0f}]"


def number(value: Mapping[str, float | None]) -> str:
    """``0.54 [0.32, 0.71]``."""
    if value["value"] is None or value["low"] is None or value["high"] is None:
        return "-"
    return f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


# --- the best, on votes that did not choose it -----------------------------------------------------------------------


def held_out(
    lead: np.ndarray, ballot: Ballot, metrics: Sequence[str], seed: int
) -> tuple[tuple[np.ndarray, dict[str, int]], np.ndarray]:
    """Hits (N,) of the best single metric, how often each was chosen, and hits of the combination, out of sample."""
    half = np.random.default_rng(seed).permutation(ballot.raters)[ballot.rater] % 2
    scaled, hits = _standardised(lead), agreed(lead, ballot.y)
    single, combined = np.full(len(lead), np.nan), np.full(len(lead), np.nan)
    chosen: dict[str, int] = {}
    for prompt in range(len(ballot.prompts)):
        for side in (0, 1):
            test = (ballot.prompt == prompt) & (half == side)
            train = (ballot.prompt != prompt) & (half != side)
            if not test.any() or not (train & (ballot.y != 0.5)).any():
                continue
            best = int(np.nanmean(hits[train], axis=0).argmax())
            chosen[metrics[best]] = chosen.get(metrics[best], 0) + 1
            single[test] = hits[test, best]
            combined[test] = agreed((scaled[test] @ fit(scaled[train], ballot.y[train]))[:, None], ballot.y[test])[:, 0]
    return (single, dict(sorted(chosen.items(), key=lambda item: -item[1]))), combined


def _standardised(lead: np.ndarray) -> np.ndarray:
    """Leads in units of their root mean square; a metric that never differs stays zero."""
    size = np.sqrt((lead**2).mean(axis=0))
    return lead / np.where(size > 0, size, 1)


def fit(lead: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (K,) >= 0 of a logistic model of the preference (Bradley-Terry on standardised leads), with a ridge.

    No weight is negative, because every metric is turned so that more is better: a combination that pays for a worse
    value would only fit these votes. A tie counts as half a vote for each side.
    """

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = lead @ weights
        slope = 1 / (1 + np.exp(-margin)) - y
        value = float((np.logaddexp(0, margin) - y * margin).mean() + _RIDGE * weights @ weights)
        return value, lead.T @ slope / len(y) + 2 * _RIDGE * weights

    count = lead.shape[1]
    found = minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B", bounds=[(0, None)] * count)
    return np.asarray(found.x)
