"""Krippendorff's alpha against published examples and by all pairs of values, and raw agreement."""

import numpy as np
import pytest

from study_app.analysis.agreement import alpha, raw


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
