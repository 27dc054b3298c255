"""Sign-flip tests against enumeration and SciPy's tests, Holm's correction by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.significance import holm, sign_flip_means, sign_flip_totals


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
def test_totals_are_the_enumeration_of_all_changes_of_sign(scores: list[int]):
    found = sign_flip_totals(np.array([scores]))[0]
    if sum(score != 0 for score in scores) < 2:
        assert np.isnan(found)
        return
    totals = [abs(np.dot(signs, scores)) for signs in product((-1, 1), repeat=len(scores))]
    assert found == pytest.approx(np.mean(np.array(totals) >= abs(sum(scores))), abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(60, 40), (31, 0), (10, 9), (198, 102)])
def test_one_answer_per_rater_is_the_exact_sign_test(wins: int, losses: int):
    scores = np.array([[1] * wins + [-1] * losses + [0] * 5])
    assert sign_flip_totals(scores)[0] == pytest.approx(
        stats.binomtest(wins, wins + losses).pvalue, rel=1e-6, abs=1e-14
    )


def test_several_at_a_time_and_nobody_with_a_preference():
    both = sign_flip_totals(np.array([[3, -1, 2, 2], [0, 0, 0, 0], [8, 0, 0, 0]]))
    assert both[0] == sign_flip_totals(np.array([[3, -1, 2, 2]]))[0]
    assert np.isnan(both[1:]).all()


def test_holm_by_hand():
    # Adjusted by hand: 4 x .005, 3 x .01, then the running maximum of 2 x .03 and 1 x .04.
    both = holm(np.array([[0.01, 0.04, 0.03, 0.005], [0.7, 0.9, 0.8, 0.6]]))
    np.testing.assert_allclose(both, [[0.03, 0.06, 0.06, 0.02], [1, 1, 1, 1]])
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.02])), [np.nan, 0.04])
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == both[0].tolist()
    assert holm([]).tolist() == []


def test_the_exact_test_is_scipys_permutation_test():
    values = np.random.default_rng(1).normal(0.6, 1, 9)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_means(values, np.arange(9)) == pytest.approx(theirs.pvalue)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=10).filter(lambda scores: sum(map(bool, scores)) > 1))
def test_both_tests_are_one_where_both_hold(scores: list[int]):
    assert sign_flip_means(scores, np.arange(len(scores))) == pytest.approx(sign_flip_totals(np.array([scores]))[0])


def test_many_prompts_are_drawn_and_agree_with_students_t():
    values = np.random.default_rng(2).normal(0.3, 1, 60)
    assert sign_flip_means(values, np.arange(60)) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_seeds_of_a_prompt_flip_together():
    per_prompt = np.random.default_rng(3).normal(0.5, 1, 7)
    one = sign_flip_means(per_prompt, np.arange(7))
    assert sign_flip_means(np.repeat(per_prompt, 5), np.repeat(np.arange(7), 5)) == pytest.approx(one)


def test_eight_prompts_that_agree_give_the_smallest_possible_value():
    assert sign_flip_means(np.arange(1, 9), np.arange(8)) == 2 / 2**8
    assert sign_flip_means(np.zeros(8), np.arange(8)) == 1


def test_under_the_hypothesis_it_errs_as_often_as_it_says():
    rng = np.random.default_rng(4)
    p_values = [sign_flip_means(rng.laplace(size=8), np.arange(8)) for _ in range(2000)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.047, abs=0.012)  # 12 of 256 patterns


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_the_value_and_bonferroni(p_values):
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1, p * len(p_values)) + 1e-12
    assert np.argsort(p_values, kind="stable").tolist() == np.lexsort((np.arange(len(p_values)), p_values)).tolist()
    by_p = [q for _, q in sorted(zip(p_values, corrected, strict=True))]
    assert by_p == sorted(by_p)
