"""Tests of one method against another at the level of raters, and Holm's correction for many of them."""

import numpy as np


def sign_flip(scores: np.ndarray) -> np.ndarray:
    """Exact two-sided sign-flip permutation test.

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


def holm(values: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Holm 1979) of the tests along the last axis; one that could not be made (NaN) counts too."""
    values = np.asarray(values, dtype=np.float64)
    number = values.shape[-1]
    order = np.argsort(values, axis=-1)  # NaN last
    factors = number - np.arange(number)
    raised = np.minimum(1.0, np.take_along_axis(values, order, -1) * factors)
    running = np.maximum.accumulate(raised, axis=-1)
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, running, axis=-1)
    return adjusted
