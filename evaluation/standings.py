"""Who is ahead, and how surely: places of the methods, with the range that resampled prompts give them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evaluation.statistics import percentiles


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
