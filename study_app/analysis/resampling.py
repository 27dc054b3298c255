"""Two-way bootstrap: raters and prompts are drawn independently, and every answer is weighted by both.

An answer belongs to a rater and to a prompt, and both are samples of what could have been. Intervals from votes alone,
or from raters alone, are far too narrow (Owen 2007, "The pigeonhole bootstrap"; the coverage is measured in the tests).
"""

import numpy as np

_CHUNK = 8_000_000  # numbers held at a time


def weights(rng: np.random.Generator, units: int, resamples: int) -> np.ndarray:
    """(B, units) how often each unit is drawn."""
    return rng.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)


def two_way(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Counts of each resample.

    Args:
        counts: (R, P, ...) answers by rater and prompt.
        resamples: B.
        seed: of the draws.

    Returns:
        (B, ...) float.
    """
    raters, prompts = counts.shape[:2]
    rng = np.random.default_rng(seed)
    of_rater, of_prompt = weights(rng, raters, resamples), weights(rng, prompts, resamples)
    flat = counts.reshape(raters, -1).astype(np.float64)
    size = max(1, _CHUNK // flat.shape[1])
    parts = []
    for first in range(0, resamples, size):
        chunk = slice(first, first + size)
        by_prompt = (of_rater[chunk] @ flat).reshape(-1, prompts, flat.shape[1] // prompts)
        parts.append(np.einsum("bp,bpk->bk", of_prompt[chunk], by_prompt))
    return np.concatenate(parts).reshape(resamples, *counts.shape[2:])


def interval(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the first axis."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
