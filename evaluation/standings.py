"""Who is ahead, and how surely: sign-flip tests of paired differences, Holm's correction, ranks with uncertainty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evaluation.statistics import percentiles

#: Up to so many prompts every pattern of signs is tried; beyond, so many are drawn.
_EXACT_PROMPTS = 14
_DRAWN = 20_000


def sign_flip_p(differences: np.ndarray, prompts: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference, by flipping signs of whole prompts (Fisher 1935, section 21).

    Under the hypothesis that two methods are alike, the difference on a prompt is as likely to have the other sign. The
    statistic is the mean over prompts of the prompt's mean difference. Up to 14 prompts all patterns of signs are
    tried, so the test is exact and the smallest p-value is 2 / 2^prompts (.0078 with eight); beyond, 20,000 are drawn,
    and the pattern observed counts as one of them.

    Args:
        differences: (N,) float, one per pair of videos.
        prompts: (N,) prompt id of each pair.
        seed: of the drawing.
    """
    means = pd.Series(np.asarray(differences, dtype=np.float64)).groupby(np.asarray(prompts)).mean().to_numpy()
    count = len(means)
    observed = abs(means.sum())
    tolerance = 1e-12 * np.abs(means).sum()  # sums of the same numbers in another order
    if count <= _EXACT_PROMPTS:
        return float((np.abs(_patterns(count) @ means) >= observed - tolerance).mean())
    signs = 2 * np.random.default_rng(seed).integers(0, 2, size=(_DRAWN, count)) - 1
    return float((1 + (np.abs(signs @ means) >= observed - tolerance).sum()) / (1 + _DRAWN))


@cache
def _patterns(count: int) -> np.ndarray:
    """(2^count, count) float64: every pattern of signs."""
    return 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): those below .05 together err with 5 % probability at most."""
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    return corrected.tolist()


@dataclass(frozen=True)
class Rank:
    """Place of a method on one metric, 1 is best; equal values share the mean of their places.

    Attributes:
        rank: by the means over the common prompts.
        low: best place in the interval.
        high: worst place in the interval.
        first: share of resamples in which it is first (a shared first place counts as a share).
    """

    rank: float
    low: float
    high: float
    first: float


def ranks(
    values: Mapping[str, pd.Series],  # method -> value by prompt (index)
    higher_is_better: bool,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Rank]:
    """Places of the methods, with the range of places that resampled prompts give them.

    All methods are ranked on the same resampled prompts, those that all of them have values for.

    Returns:
        method -> place; empty if fewer than two methods or two common prompts.
    """
    table = pd.DataFrame(values).dropna().sort_index()
    if table.shape[1] < 2 or len(table) < 2:
        return {}
    scores = table.to_numpy() * (-1 if higher_is_better else 1)
    draws = np.random.default_rng(seed).integers(0, len(table), size=(resamples, len(table)))
    places = rankdata(scores[draws].mean(axis=1), axis=1)  # (resamples, methods)
    ends = percentiles(len(table), level, expanded=True)
    low, high = np.quantile(places, ends, axis=0, method="closest_observation")
    best = places == places.min(axis=1, keepdims=True)
    first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    own = rankdata(scores.mean(axis=0))
    return {
        method: Rank(float(own[i]), float(low[i]), float(high[i]), float(first[i]))
        for i, method in enumerate(table.columns)
    }
