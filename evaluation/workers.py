"""Threads that look at frames, and the memory that they leave behind."""

import ctypes
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def frame_workers(frames: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for so many frames at a time, which share the threads that torch may use.

    One frame on each of two cores is done sooner than two frames in turn on both: small products split badly, and much
    of what is done to a frame is not split at all.

    Args:
        frames: 1 or more.
    """
    threads = torch.get_num_threads()
    count = max(1, min(frames, threads))
    pool = ThreadPoolExecutor(count, "frames", torch.set_num_threads, (threads // count,))
    # Here too, and NumPy as well: what is split over busy cores waits for them, and spins.
    torch.set_num_threads(threads // count)
    try:
        with threadpool_limits(threads // count, user_api="blas"):
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def give_memory_back() -> None:
    """Hand back to the system what malloc holds and nobody uses.

    Threads that make large tensors side by side leave holes, of which a long video collects more and more. Only glibc
    is asked: others return large blocks by themselves.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
