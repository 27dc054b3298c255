"""The design against its promises, counted independently of how it is drawn."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study_app.design import criterion_order, schedule, trials_per_rater

KEY = bytes(range(32))


def pair(trial):
    return frozenset((trial.left, trial.right))


def spread(counts):
    return max(counts) - min(counts)


def test_half_mode_is_balanced_and_complemented_by_the_next_rater():
    for rater in range(0, 24, 2):
        first, second = schedule(KEY, rater, 4, 8, "half"), schedule(KEY, rater + 1, 4, 8, "half")
        for half in (first, second):
            assert len(half) == 24
            assert set(Counter(map(pair, half)).values()) == {4}
            assert set(Counter(trial.prompt for trial in half).values()) == {3}
        cells = [(pair(trial), trial.prompt) for trial in first + second]
        assert len(set(cells)) == len(cells) == 48


def test_counts_of_31_raters_are_exactly_as_planned():
    trials = [trial for rater in range(31) for trial in schedule(KEY, rater, 4, 8, "half")]
    assert set(Counter(map(pair, trials)).values()) == {124}
    assert set(Counter(trial.prompt for trial in trials).values()) == {93}
    assert set(Counter((pair(trial), trial.prompt) for trial in trials).values()) <= {15, 16}
    for cell in {(pair(trial), trial.prompt) for trial in trials}:
        on_left = Counter(trial.left for trial in trials if (pair(trial), trial.prompt) == cell)
        assert spread([on_left[method] for method in cell[0]]) <= 1


def test_full_mode_shows_every_cell_and_mirrors_the_next_rater():
    first, second = schedule(KEY, 6, 4, 8, "full"), schedule(KEY, 7, 4, 8, "full")
    assert len({(pair(trial), trial.prompt) for trial in first}) == len(first) == 48
    assert {(t.left, t.right, t.prompt) for t in first} == {(t.right, t.left, t.prompt) for t in second}
    assert [t.prompt for t in first] != [t.prompt for t in second]


@settings(max_examples=40, deadline=None)
@given(
    methods=st.integers(2, 6),
    prompts=st.integers(2, 9),
    rater=st.integers(0, 200),
    mode=st.sampled_from(["half", "full"]),
    key=st.binary(min_size=32, max_size=32),
)
def test_any_size_keeps_sides_counts_and_order(methods, prompts, rater, mode, key):
    trials = schedule(key, rater, methods, prompts, mode)
    left, right = Counter(trial.left for trial in trials), Counter(trial.right for trial in trials)
    assert all(abs(left[method] - right[method]) <= 1 for method in range(methods))
    assert spread([sum(trial.prompt == prompt for trial in trials) for prompt in range(prompts)]) <= 1
    pairs = Counter(map(pair, trials))
    assert spread([pairs[frozenset((a, b))] for b in range(methods) for a in range(b)]) <= 1
    prompts_shown = [trial.prompt for trial in trials]
    if Counter(prompts_shown).most_common(1)[0][1] <= (len(trials) + 1) // 2:
        assert all(a != b for a, b in pairwise(prompts_shown))
    assert trials_per_rater(methods, prompts, mode) - len(trials) in (0, 1)


def test_best_of_four_shows_every_method_at_every_place_equally_often():
    sessions = [schedule(KEY, rater, 4, 8, "best-of-four") for rater in range(8)]
    for trials in sessions:
        assert sorted(trial.prompt for trial in trials) == list(range(8))
        assert set(Counter((place, m) for t in trials for place, m in enumerate(t.methods)).values()) == {2}
    by_cell = Counter((t.prompt, place, m) for trials in sessions for t in trials for place, m in enumerate(t.methods))
    assert len(by_cell) == 8 * 4 * 4
    assert set(by_cell.values()) == {2}
    assert trials_per_rater(4, 8, "best-of-four") == 8


def test_the_design_repeats_and_depends_on_the_key_and_the_rater():
    assert schedule(KEY, 3, 4, 8, "half") == schedule(KEY, 3, 4, 8, "half")
    assert schedule(KEY, 3, 4, 8, "half") != schedule(KEY[::-1], 3, 4, 8, "half")
    halves = {frozenset((pair(t), t.prompt) for t in schedule(KEY, 4 * group, 4, 8, "half")) for group in range(20)}
    assert len(halves) == 20


def test_questions_are_shuffled_between_raters():
    criteria = ["a", "b", "c", "d", "e"]
    orders = [criterion_order(KEY, rater, criteria) for rater in range(200)]
    assert all(sorted(order) == criteria for order in orders)
    assert all(15 <= first <= 70 for first in Counter(order[0] for order in orders).values())
    assert orders[5] == criterion_order(KEY, 5, criteria)


@pytest.mark.parametrize(("methods", "prompts", "mode"), [(1, 8, "half"), (4, 0, "half"), (4, 8, "quarter")])
def test_impossible_designs_are_refused(methods, prompts, mode):
    with pytest.raises(ValueError, match=r"no comparison|unknown mode"):
        schedule(KEY, 0, methods, prompts, mode)
