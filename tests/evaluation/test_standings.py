"""Tests, correction and ranks against SciPy, hand calculation and planted truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.standings import holm, ranks, sign_flip_p


def test_the_exact_test_is_scipys_permutation_test():
    values = np.random.default_rng(1).normal(0.6, 1, 9)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values, np.arange(9)) == pytest.approx(theirs.pvalue)


def test_many_prompts_are_drawn_and_agree_with_students_t():
    values = np.random.default_rng(2).normal(0.3, 1, 60)
    assert sign_flip_p(values, np.arange(60)) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_seeds_of_a_prompt_flip_together():
    per_prompt = np.random.default_rng(3).normal(0.5, 1, 7)
    one = sign_flip_p(per_prompt, np.arange(7))
    assert sign_flip_p(np.repeat(per_prompt, 5), np.repeat(np.arange(7), 5)) == pytest.approx(one)


def test_eight_prompts_that_agree_give_the_smallest_possible_value():
    assert sign_flip_p(np.arange(1, 9), np.arange(8)) == 2 / 2**8
    assert sign_flip_p(np.zeros(8), np.arange(8)) == 1


def test_under_the_hypothesis_it_errs_as_often_as_it_says():
    rng = np.random.default_rng(4)
    p_values = [sign_flip_p(rng.laplace(size=8), np.arange(8)) for _ in range(2000)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.047, abs=0.012)  # 12 of 256 patterns


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_the_value_and_bonferroni(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1, p * len(p_values)) + 1e-12
    assert np.argsort(p_values, kind="stable").tolist() == np.lexsort((np.arange(len(p_values)), p_values)).tolist()
    by_p = [q for _, q in sorted(zip(p_values, corrected, strict=True))]
    assert by_p == sorted(by_p)


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
