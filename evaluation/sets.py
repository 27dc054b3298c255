"""Distances between sets of videos: the value, its interval, the real-against-real floor, and refusal of small sets.

The interval is a half-sample bootstrap: both sets are halved at random, without replacement, and the spread of the
values of the halves is the spread of the value of the whole (for a mean, the variance of half-sample means around the
mean is s^2/n exactly; Saigo, Shao & Sitter 2001). Drawing with replacement, as for means, would put copies of a video
into a set, which every distance between distributions takes for structure. Videos of one prompt stay together. Between
sets of one kind, where a kernel distance has no first-order spread, the interval is wider than it need be (by 1.7).

The floor is what the metric reads between two halves of the reference: real against real. A distance that is not above
it has not been told from real, and a biased distance (Frechet) shows its bias there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.metrics.base import AnyMetric, SetMetric, SetValue


@dataclass(frozen=True)
class SetScore:
    """The value of one set of videos.

    Attributes:
        value: all videos against the whole reference.
        low: lower end of the interval; None if there are fewer than two prompts.
        high: upper end.
        n: number of videos.
        prompts: number of prompts, which carry the interval.
        reference: number of reference videos.
        floor: mean over splits of the reference into two halves, and the highest 2.5 % of them: (mean, high).
        draws: (B,) values of the half-samples; the same draws for every method with the same prompts.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    prompts: int
    reference: int
    floor: tuple[float, float]
    draws: np.ndarray


def score_set(
    metric: SetMetric,
    videos: np.ndarray,  # (N, ...) what metric.describe kept, in the order of prompts
    prompts: Sequence[str],  # N prompt ids
    reference: np.ndarray,  # (R, ...)
    level: float = 0.95,
    seed: int = 0,
) -> SetScore | str:
    """Value, interval and floor; or, if there are too few videos, the line that says so instead."""
    if not videos.size or not reference.size:
        return "no number: the videos are shorter than the clips that its network looks at"
    short = refusal(metric, len(videos), len(reference))
    if short:
        return short
    groups = _groups(prompts)
    whole = metric.plan(videos, reference)
    value = whole(np.arange(len(videos)), np.arange(len(reference)))
    draws = half_samples(whole, groups, len(reference), metric.resamples, seed)
    spread, n = float(draws.std(ddof=1)), len(groups)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1)) * spread if n > 1 else None
    floor = real_against_real(metric.plan(reference, reference), len(reference), metric.resamples, seed)
    return SetScore(
        value=value,
        low=None if reach is None else value - reach,
        high=None if reach is None else value + reach,
        n=len(videos),
        prompts=n,
        reference=len(reference),
        floor=(float(floor.mean()), float(np.quantile(floor, (1 + level) / 2))),
        draws=draws,
    )


def refusal(metric: SetMetric, videos: int, reference: int) -> str | None:
    """Why there is no number, or None."""
    if min(videos, reference) >= metric.least:
        return None
    return (
        f"no number: {videos} videos against {reference} reference videos, and below {metric.least} of each it would "
        f"say more about the sample than about the method (scoring.metrics.{metric.name}.least)"
    )


def half_samples(
    value: SetValue,
    groups: Sequence[np.ndarray],
    reference: int,
    count: int,
    seed: int,
) -> np.ndarray:
    """(count,) values of random halves of the groups of videos against random halves of the reference."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(count):
        real = _half(rng, reference)
        chosen = np.sort(np.concatenate([groups[index] for index in _half(rng, len(groups))]))
        draws.append(value(chosen, real))
    return np.array(draws)


def real_against_real(value: SetValue, reference: int, count: int, seed: int) -> np.ndarray:
    """(count,) values of one random half of the reference against its other half."""
    rng = np.random.default_rng([seed, 1])
    splits = [rng.permutation(reference) for _ in range(count)]
    return np.array([value(np.sort(s[: reference // 2]), np.sort(s[reference // 2 :])) for s in splits])


def _half(rng: np.random.Generator, count: int) -> np.ndarray:
    """Half of 0 .. count-1, sorted; of an odd number, the smaller or the larger half with equal chance."""
    size = max(1, count // 2 + (rng.integers(2) if count % 2 else 0))
    return np.sort(rng.permutation(count)[:size])


def _groups(prompts: Sequence[str]) -> list[np.ndarray]:
    """Indices of each prompt's videos, prompts sorted."""
    names = np.asarray(prompts)
    return [np.flatnonzero(names == name) for name in sorted(set(prompts))]


def summary_of(metric: AnyMetric, score: SetScore) -> dict[str, object]:
    """The metric's entry in ``metrics.json``: that of a mean, with the floor and the reference's size."""
    return {
        "mean": score.value,
        "low": score.low,
        "high": score.high,
        "n": score.n,
        "prompts": score.prompts,
        "unit": metric.unit,
        "direction": metric.direction,
        "criterion": metric.criterion,
        "version": metric.version,
        "of": "set",
        "reference": score.reference,
        "floor": {"mean": score.floor[0], "high": score.floor[1]},
    }
