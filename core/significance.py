"""Whether a difference could be chance: sign-flip tests (Fisher 1935, section 21), and Holm's correction."""

from collections.abc import Sequence
from functools import cache

import numpy as np

#: Up to so many groups every pattern of signs is tried; beyond, so many are drawn.
_EXACT_GROUPS = 14
_DRAWN = 20_000


def sign_flip_totals(scores: np.ndarray) -> np.ndarray:
    """Exact two-sided sign-flip test of totals of whole numbers, for any number of raters.

    If a rater prefers neither method, the sum of their answers (+1 for one, -1 for the other, 0 for a tie) is as likely
    as its negative, whatever binds the answers of one rater together. The p-value is the share of all 2^R changes of
    sign whose total is as far from zero as the one found. The distribution of the total is not sampled: it is the
    inverse Fourier transform of prod cos(t s).

    Args:
        scores: (T, R) whole numbers, one test per row.

    Returns:
        (T,) p; NaN where fewer than two raters have a score other than zero, as no p below 1 can come out then.
    """
    scores = np.rint(np.asarray(scores)).astype(int)
    sizes, total = np.abs(scores), np.abs(scores.sum(1))
    length = 2 * int(sizes.sum(1).max(initial=0)) + 2
    angles = 2 * np.pi * np.arange(length) / length
    transform = np.ones((len(scores), length))
    for size in range(1, int(sizes.max(initial=0)) + 1):
        number = (sizes == size).sum(1)[:, None]
        transform *= np.cos(angles * size) ** number
    chances = np.fft.ifft(transform, axis=1).real
    distance = np.minimum(np.arange(length), length - np.arange(length))
    p = np.where(distance >= total[:, None], chances, 0.0).sum(1)
    voting = (sizes > 0).sum(1)
    # Rounding leaves some 1e-16 where the smallest possible value is less.
    return np.where(voting >= 2, np.clip(p, 2.0 ** (1.0 - voting), 1.0), np.nan)


def sign_flip_means(differences: np.ndarray, groups: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value of a mean paired difference, by flipping the signs of whole groups.

    Under the hypothesis that two methods are alike, the difference on a prompt is as likely to have the other sign. The
    statistic is the mean over prompts of the prompt's mean difference. Up to 14 prompts all patterns of signs are
    tried, so the test is exact and the smallest p-value is 2 / 2^prompts (.0078 with eight); beyond, 20,000 are drawn,
    and the pattern observed counts as one of them.

    Args:
        differences: (N,) float, one per pair of videos.
        groups: (N,) what flips together: the prompt id of each pair.
        seed: of the drawing.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    means = np.bincount(group, np.asarray(differences, dtype=np.float64)) / np.bincount(group)
    count = len(means)
    observed = abs(means.sum())
    tolerance = 1e-12 * np.abs(means).sum()  # sums of the same numbers in another order
    if count <= _EXACT_GROUPS:
        return float((np.abs(_patterns(count) @ means) >= observed - tolerance).mean())
    signs = 2 * np.random.default_rng(seed).integers(0, 2, size=(_DRAWN, count)) - 1
    return float((1 + (np.abs(signs @ means) >= observed - tolerance).sum()) / (1 + _DRAWN))


@cache
def _patterns(count: int) -> np.ndarray:
    """(2^count, count) float64: every pattern of signs."""
    return 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)


def holm(p_values: np.ndarray | Sequence[float]) -> np.ndarray:
    """p-values corrected for their number (Holm 1979): those below .05 together err with 5 % probability at most.

    Args:
        p_values: (..., N); the tests along the last axis are one family. One that could not be made (NaN) counts too.

    Returns:
        float64 of the same shape; NaN stays NaN.
    """
    values = np.asarray(p_values, dtype=np.float64)
    number = values.shape[-1]
    order = np.argsort(values, axis=-1, kind="stable")  # NaN last
    factors = number - np.arange(number)
    raised = np.minimum(1.0, np.take_along_axis(values, order, -1) * factors)
    running = np.maximum.accumulate(raised, axis=-1)
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, running, axis=-1)
    return adjusted
