"""Places of methods against hand calculation and planted truth."""

import numpy as np
import pandas as pd

from evaluation.standings import ranks


def series(values) -> pd.Series:
    return pd.Series(np.asarray(values, dtype=float), index=[f"p{i}" for i in range(len(values))])


def test_a_clear_order_is_certain_and_a_coin_toss_is_not():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(3, 12))
    found = ranks({"far": series(noise[0] + 9), "a": series(noise[1]), "b": series(noise[2])}, higher_is_better=True)
    assert (found["far"].rank, found["far"].low, found["far"].high, found["far"].first) == (1, 1, 1, 1)
    assert {found["a"].rank, found["b"].rank} == {2, 3}
    assert (found["a"].low, found["a"].high) == (2, 3)
    lower = ranks({"far": series(noise[0] + 9), "a": series(noise[1])}, higher_is_better=False)
    assert (lower["far"].rank, lower["a"].first) == (2, 1)


def test_equal_methods_share_a_place():
    found = ranks({"a": series([1, 2, 3]), "b": series([1, 2, 3])}, higher_is_better=True)
    assert (found["a"].rank, found["b"].rank, found["a"].first) == (1.5, 1.5, 0.5)


def test_only_common_prompts_are_ranked():
    a, b = series([1, 1, 1, 9]), series([2, 2, 2])
    assert ranks({"a": a, "b": b}, higher_is_better=True)["b"].rank == 1
    assert ranks({"a": a.iloc[:1], "b": b}, higher_is_better=True) == {}
    assert ranks({"a": a}, higher_is_better=True) == {}
