"""The lock of the votes: one at a time, first come, first served, whatever goes wrong inside."""

import threading
import time
from collections import Counter

import pytest

from study_app.turns import Turns

THREADS, ROUNDS = 6, 150


def test_one_at_a_time_and_nobody_is_overtaken():
    turns, inside, entered, first_done = Turns(), [], [], []

    def work(me: int) -> None:
        for _ in range(ROUNDS):
            with turns:
                inside.append(me)
                entered.append(me)
                time.sleep(1e-4)
                assert inside == [me]
                inside.remove(me)
        first_done.append(Counter(entered))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(entered) == dict.fromkeys(range(THREADS), ROUNDS)
    # When the first one was through, the others were nearly so: with threading.Lock some have hardly begun.
    assert min(first_done[0][me] for me in range(THREADS)) > ROUNDS / 2


def test_an_error_inside_hands_over_too():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns:
        _ = 1 / 0
    with turns:
        pass
