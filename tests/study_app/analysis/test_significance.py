"""The sign-flip test against enumeration and scipy's sign test, Holm by hand, alpha against published examples."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from study_app.analysis.agreement import alpha, raw
from study_app.analysis.significance import holm, sign_flip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
def test_it_is_the_enumeration_of_all_changes_of_sign(scores: list[int]):
    found = sign_flip(np.array([scores]))[0]
    if sum(score != 0 for score in scores) < 2:
        assert np.isnan(found)
        return
    totals = [abs(np.dot(signs, scores)) for signs in product((-1, 1), repeat=len(scores))]
    assert found == pytest.approx(np.mean(np.array(totals) >= abs(sum(scores))), abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(60, 40), (31, 0), (10, 9), (198, 102)])
def test_one_answer_per_rater_is_the_exact_sign_test(wins: int, losses: int):
    scores = np.array([[1] * wins + [-1] * losses + [0] * 5])
    assert sign_flip(scores)[0] == pytest.approx(binomtest(wins, wins + losses).pvalue, rel=1e-6, abs=1e-14)


def test_several_at_a_time_and_nobody_with_a_preference():
    both = sign_flip(np.array([[3, -1, 2, 2], [0, 0, 0, 0], [8, 0, 0, 0]]))
    assert both[0] == sign_flip(np.array([[3, -1, 2, 2]]))[0]
    assert np.isnan(both[1:]).all()


def test_holm():
    # Adjusted by hand: 4 x .005, 3 x .01, then the running maximum of 2 x .03 and 1 x .04.
    both = holm(np.array([[0.01, 0.04, 0.03, 0.005], [0.7, 0.9, 0.8, 0.6]]))
    np.testing.assert_allclose(both, [[0.03, 0.06, 0.06, 0.02], [1, 1, 1, 1]])
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.02])), [np.nan, 0.04])


def test_alpha_of_the_published_examples():
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": binary, nominal, and with missing data.
    binary = ["01", "11", "01", "00", "00", "01", "00", "00", "10", "00"]
    assert alpha(dict(enumerate(binary))) == pytest.approx(0.095, abs=0.0005)
    nominal = ["ab", "aa", "bb", "bb", "db", "cc", "cc", "cc", "ee", "dd", "dd", "ad"]
    assert alpha(dict(enumerate(nominal))) == pytest.approx(0.692, abs=0.0005)
    assert alpha(dict(enumerate(nominal))) == pytest.approx(by_pairs(nominal), abs=1e-12)
    missing = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    assert alpha(dict(enumerate(missing))) == pytest.approx(0.743, abs=0.0005)


def by_pairs(units: list[str]) -> float:
    """1 - observed / expected disagreement, from all pairs of values."""
    values = "".join(units)
    observed = np.mean([a != b for unit in units for a, b in ((unit[0], unit[1]), (unit[1], unit[0]))])
    pairs = [(i, j) for i in range(len(values)) for j in range(len(values)) if i != j]
    return 1 - observed / np.mean([values[i] != values[j] for i, j in pairs])


def test_alpha_of_chance_and_where_it_is_not_defined():
    rng = np.random.default_rng(0)
    assert alpha(dict(enumerate(rng.integers(0, 3, (4000, 3)).tolist()))) == pytest.approx(0, abs=0.03)
    assert alpha({0: "aa", 1: "bbb"}) == 1
    assert alpha({0: "a", 1: "b"}) is None
    assert alpha({0: "aa", 1: "aaa"}) is None
    assert raw({0: "aab", 1: "a"}) == (1 / 3, 3)
    assert raw({0: "a"}) == (None, 0)
