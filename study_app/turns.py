"""A lock that is given in the order of asking."""

import threading
from collections import deque
from typing import Self


class Turns:
    """Mutual exclusion of threads, first come, first served.

    `threading.Lock` goes to whoever happens to run when it is freed, mostly the thread that has just had it: under load
    somebody waits for seconds.
    """

    def __init__(self) -> None:
        self._inner = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> Self:
        with self._inner:
            if not self._taken:
                self._taken = True
                return self
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # until the one before me hands over
        return self

    def __exit__(self, *_: object) -> None:
        with self._inner:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
