"""Frames are looked at side by side, torch has its threads back afterwards, and the system its memory."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from evaluation.workers import frame_workers, give_memory_back


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Six threads for torch, whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("frames", "workers", "each"), [(1, 1, 6), (2, 2, 3), (4, 4, 1), (6, 6, 1), (100, 6, 1)])
def test_so_many_work_at_once_and_share_the_threads(frames: int, workers: int, each: int):
    meeting = threading.Barrier(workers)  # nobody passes before all are there

    def work(number: int) -> tuple[int, int]:
        meeting.wait(timeout=30)
        return number, torch.get_num_threads()

    with frame_workers(frames) as pool:
        assert torch.get_num_threads() == each
        assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {each}
        assert list(pool.map(work, range(workers))) == [(number, each) for number in range(workers)]
    assert torch.get_num_threads() == 6


def test_who_fails_waits_for_no_frame_that_has_not_begun():
    begun, go = [], threading.Event()
    timer = threading.Timer(0.2, go.set)

    def work(number: int) -> None:
        begun.append(number)
        go.wait(timeout=30)

    def score() -> None:
        with frame_workers(2) as pool:
            pool.map(work, range(100))
            timer.start()
            raise ValueError("a metric failed")

    before = threading.active_count()
    with pytest.raises(ValueError, match="a metric failed"):
        score()
    timer.join()
    assert len(begun) < 100
    assert threading.active_count() == before
    assert torch.get_num_threads() == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps what was freed")
def test_the_holes_between_what_is_kept_go_back_to_the_system():
    def resident_mib() -> float:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]  # small enough for malloc to keep them
    kept = blocks[::50]
    del blocks
    before = resident_mib()
    give_memory_back()
    assert resident_mib() < before - 100
    assert all(block.all() for block in kept)
