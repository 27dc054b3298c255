"""The difference between two methods on a metric of the whole set, from the half-samples that scoring kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from core.errors import PanobenchError


def set_difference(
    a: np.ndarray,  # (B,) values of the half-samples of the first method
    b: np.ndarray,  # (B,) of the second
    prompts: int,  # fewer of the two methods' numbers of prompts
    paired: bool,  # whether draw k took the same prompts, and the same reference, for both
    level: float = 0.95,
) -> float:
    """Half the width of the interval around the difference of the two values.

    The same half of the prompts and of the reference is in draw k of both methods, so what they share falls out of the
    differences. Where the prompts are not the same, the spreads add up instead.
    """
    spread = (a - b).std(ddof=1) if paired else np.hypot(a.std(ddof=1), b.std(ddof=1))
    return float(stats.t.ppf((1 + level) / 2, prompts - 1) * spread)


def read_draws(folder: Path, metric: str) -> np.ndarray:
    """(B,) half-samples of one metric from a score folder.

    Raises:
        PanobenchError: the file is missing or has no such metric.
    """
    file = folder / "sets.parquet"
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise PanobenchError(f"{file}: missing or not readable, but metrics.json has {metric}; score again") from error
    draws = table.loc[table["metric"] == metric].sort_values("draw")["value"].to_numpy()
    if not len(draws):
        raise PanobenchError(f"{file}: has no half-samples of {metric}; score again")
    return draws


def difference_row(
    a: tuple[str, Path, Mapping[str, Any], set[str]],  # name, score folder, entry in metrics.json, prompt ids
    b: tuple[str, Path, Mapping[str, Any], set[str]],
    metric: str,
    level: float,
) -> dict[str, Any]:
    """The row of a comparison: a - b with its interval; no p-value, since half-samples are no permutation."""
    (name_a, folder_a, entry_a, prompts_a), (name_b, folder_b, entry_b, prompts_b) = a, b
    draws_a, draws_b = read_draws(folder_a, metric), read_draws(folder_b, metric)
    same = prompts_a == prompts_b and entry_a["reference"] == entry_b["reference"] and len(draws_a) == len(draws_b)
    prompts, mean = min(entry_a["prompts"], entry_b["prompts"]), entry_a["mean"] - entry_b["mean"]
    reach = set_difference(draws_a, draws_b, prompts, same, level) if prompts > 1 else None
    return {
        "a": name_a,
        "b": name_b,
        "mean": mean,
        "low": None if reach is None else mean - reach,
        "high": None if reach is None else mean + reach,
        "n": min(entry_a["n"], entry_b["n"]),
        "prompts": prompts,
        "p": None,
    }
