"""The next item is made while the last is used, and nothing else about the items changes."""

import threading
from collections.abc import Iterator

import pytest

from evaluation.ahead import one_ahead


def test_the_items_come_as_they_are_made_elsewhere():
    made_in = []

    def items() -> Iterator[int]:
        for number in range(5):
            made_in.append(threading.current_thread())
            yield number

    assert list(one_ahead(items())) == list(range(5))
    assert set(made_in) & {threading.current_thread()} == set()
    assert list(one_ahead([])) == []


def test_the_next_one_is_made_while_the_last_is_used_and_no_other():
    begun = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    for number in one_ahead(items()):
        if number < 3:
            assert begun[number + 1].wait(timeout=30)
        assert not any(event.is_set() for event in begun[number + 2 :])


def test_what_goes_wrong_comes_after_what_went_well():
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second is broken")

    found = []
    with pytest.raises(ValueError, match="the second is broken"):
        found.extend(one_ahead(items()))
    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="the second is broken"):
        next(ahead)


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    ahead = one_ahead(iter(range(100)))
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
