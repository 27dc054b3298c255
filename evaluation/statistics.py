"""Means and differences with bootstrap intervals over prompts, and over seeds within prompts.

A method is judged on a set of prompts, with one or more videos (seeds) per prompt. Videos of one prompt resemble each
other, so prompts are resampled first, then the videos of each drawn prompt (two-stage bootstrap; Davison & Hinkley
1997, section 3.8). The statistic is the mean over prompts of the mean over that prompt's videos, so that every prompt
counts the same.

Resampling both stages as they are counts the variance within prompts twice, because the prompts' means already vary by
it. So the prompts' means are first drawn together by the factor that leaves the variance of a resample at what the
means themselves show (Davison & Hinkley's second strategy). With one video per prompt nothing is left of all this but
resampling prompts.

The interval is the *expanded percentile* interval (Hesterberg 2015, "What Teachers Should Know About the Bootstrap",
section 5.3): the plain percentile interval is too short by sqrt((n-1)/n) and uses normal instead of t quantiles, which
with eight prompts covers 88 % instead of 95 %. By simulation (tests) this one covers 93 % with eight normal prompts, up
to 97 % where seeds vary more than prompts, and 90 % where prompts are exponential. It never leaves the range of the
values, as a bootstrap-t interval does. Pass ``expanded=False`` for the plain one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from core.errors import PanobenchError


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, both in the metric's unit.

    Attributes:
        mean: mean over prompts of the mean over the prompt's videos.
        low: lower end; None if there is only one prompt.
        high: upper end; None if there is only one prompt.
        n: number of videos (of pairs of videos, for a difference).
        prompts: number of prompts, which is what carries the interval.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    prompts: int


def bootstrap_mean(
    values: np.ndarray,
    prompts: np.ndarray,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    expanded: bool = True,
) -> Interval:
    """Mean with a two-stage bootstrap interval: prompts, and videos within prompts.

    The order of the rows does not matter: prompts and their values are sorted before anything is drawn.

    Args:
        values: (N,) float, one per video.
        prompts: (N,) prompt id of each video.
        resamples: number of bootstrap resamples.
        level: nominal coverage, 0 to 1.
        seed: seed of the resampling.
        expanded: widen the percentile interval for few prompts (module docstring).

    Raises:
        ValueError: no rows, lengths differ, a value that is not finite, or a level outside (0, 1).
    """
    values = np.asarray(values, dtype=np.float64)
    prompts = np.asarray(prompts)
    if values.ndim != 1 or values.shape != prompts.shape or values.size == 0:
        raise ValueError(f"values and prompts must be equally long and not empty, got {values.shape}, {prompts.shape}")
    if not np.isfinite(values).all():
        raise ValueError("values must be finite")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    groups = [np.sort(group.to_numpy()) for _, group in pd.Series(values).groupby(prompts, sort=True)]
    n = len(groups)
    mean = float(np.mean([group.mean() for group in groups]))
    if n == 1:
        return Interval(mean, None, None, values.size, n)
    drawn = resampled_means(groups, resamples, np.random.default_rng(seed))
    low, high = np.quantile(drawn, percentiles(n, level, expanded))
    return Interval(mean, float(low), float(high), values.size, n)


def resampled_means(groups: Sequence[np.ndarray], resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means of two-stage bootstrap resamples (module docstring), ``(resamples,)``.

    Args:
        groups: the values of each prompt, at least two prompts.
        resamples: how many.
        generator: what is drawn from.
    """
    n = len(groups)
    means = np.array([group.mean() for group in groups])
    chosen = generator.integers(0, n, size=(resamples, n))
    if all(len(group) == 1 for group in groups):
        return means[chosen].mean(axis=1)
    within = float(np.mean([group.var() / len(group) for group in groups]))
    between = float(means.var())
    kept = np.sqrt(max(0.0, 1 - within / between)) if between > 0 else 0.0
    drawn = (means.mean() + kept * (means - means.mean()))[chosen]
    for index, group in enumerate(groups):
        if len(group) > 1:
            at = np.nonzero(chosen == index)
            picks = generator.integers(0, len(group), size=(len(at[0]), len(group)))
            drawn[at] += (group - group.mean())[picks].mean(axis=1)
    return drawn.mean(axis=1)


def percentiles(n: int, level: float, expanded: bool) -> list[float]:
    """Lower and upper percentile (0 to 1) at which to read the bootstrap distribution of a mean of n."""
    tail = (1 - level) / 2
    if expanded:
        tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1)))
    return [tail, 1 - tail]


def summarise(
    scores: pd.DataFrame, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, dict[str, float | int | str | None]]:
    """Mean and interval of every metric of one method, as ``metrics.json`` holds them.

    Args:
        scores: long table of one method (columns of ``scores.parquet``); NaN values are left out of mean and n.
        resamples: number of bootstrap resamples.
        level: nominal coverage.
        seed: seed of the resampling.

    Returns:
        metric name -> {mean, low, high, n, prompts, unit, direction, criterion, version}, in the table's order.
    """
    methods = scores["method"].unique()
    if len(methods) > 1:
        raise PanobenchError(f"summarise takes one method at a time, got {', '.join(sorted(methods))}")
    summary: dict[str, dict[str, float | int | str | None]] = {}
    for name, rows in scores.groupby("metric", sort=False):
        rows = rows[np.isfinite(rows["value"])]
        if rows.empty:
            continue
        interval = bootstrap_mean(
            rows["value"].to_numpy(), rows["prompt_id"].to_numpy(), resamples=resamples, level=level, seed=seed
        )
        first = rows.iloc[0]
        summary[str(name)] = {
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "n": interval.n,
            "prompts": interval.prompts,
            "unit": str(first["unit"]),
            "direction": str(first["direction"]),
            "criterion": str(first["criterion"]),
            "version": int(first["metric_version"]),
        }
    return summary


def paired_difference(
    scores_a: pd.DataFrame,
    scores_b: pd.DataFrame,
    metric: str,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean difference a - b of one metric over the prompts that both methods answered, with its interval.

    Videos are paired by prompt and seed where both methods have the same seeds; otherwise the prompt's means are
    paired. Pairing takes the difficulty of the prompt out of the comparison, so this interval, not the overlap of the
    two separate ones, says whether the methods differ.

    Args:
        scores_a: long table of the first method.
        scores_b: long table of the second method.
        metric: name of the metric.
        resamples: number of bootstrap resamples.
        level: nominal coverage.
        seed: seed of the resampling.

    Raises:
        PanobenchError: the metric is missing in one table, its version differs, or no prompt is common.
    """
    pairs = paired_values(scores_a, scores_b, metric)
    return bootstrap_mean(
        pairs["difference"].to_numpy(), pairs["prompt_id"].to_numpy(), resamples=resamples, level=level, seed=seed
    )


def paired_values(scores_a: pd.DataFrame, scores_b: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The pairs behind ``paired_difference``: columns ``prompt_id`` and ``difference`` (a - b).

    Raises:
        PanobenchError: as ``paired_difference``.
    """
    a, b = (_values_of(scores, metric) for scores in (scores_a, scores_b))
    if set(a["metric_version"]) != set(b["metric_version"]):
        raise PanobenchError(f"metric '{metric}' was computed by different versions; score both methods again")
    pairs = a.merge(b, on=["prompt_id", "seed"], suffixes=("_a", "_b"))
    if len(pairs) != len(a) or len(pairs) != len(b):
        mean_a, mean_b = (t.groupby("prompt_id", as_index=False)["value"].mean() for t in (a, b))
        pairs = mean_a.merge(mean_b, on="prompt_id", suffixes=("_a", "_b"))
    if pairs.empty:
        raise PanobenchError(f"metric '{metric}': the two methods have no prompt in common, so no pairs to compare")
    return pairs.assign(difference=pairs["value_a"] - pairs["value_b"])[["prompt_id", "difference"]]


def _values_of(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = scores[(scores["metric"] == metric) & np.isfinite(scores["value"])]
    if rows.empty:
        method = ", ".join(sorted(scores["method"].unique())) or "(no rows)"
        raise PanobenchError(f"metric '{metric}' has no values for method {method}; run `panobench score` with it")
    return rows
