"""Work divided among processes that never talk to each other: each takes every n-th item.

The numbers come from whoever started the processes: torchrun and `accelerate launch` (RANK, WORLD_SIZE), `srun`
(SLURM_PROCID, SLURM_NTASKS), a Slurm array (SLURM_ARRAY_TASK_ID, ...; with several tasks per element, both), or the
command line. What the processes share is a folder in which every file is complete or absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.errors import PanobenchError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Process `rank`, from 0, of `world`."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.world < 1 or not 0 <= self.rank < self.world:
            raise PanobenchError(f"rank {self.rank} of {self.world} processes: expected 0 to {self.world - 1}")

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """This process's share."""
        return items[self.rank :: self.world]


def find_shard(
    rank: int | None = None, world: int | None = None, environment: Mapping[str, str] | None = None
) -> Shard:
    """The share of this process: as given, or as its launcher says; all of the work if nobody says anything.

    Raises:
        PanobenchError: one of the two numbers is missing, or they do not fit each other.
    """
    found = os.environ if environment is None else environment
    if (rank is None) != (world is None):
        raise PanobenchError("--rank and --world go together: this process, from 0, and how many there are")
    if rank is not None and world is not None:
        return Shard(rank, world)
    if "WORLD_SIZE" in found:
        return Shard(_number(found, "RANK"), _number(found, "WORLD_SIZE"))
    tasks = Shard()
    if "SLURM_PROCID" in found:
        tasks = Shard(_number(found, "SLURM_PROCID"), _number(found, "SLURM_NTASKS"))
    if "SLURM_ARRAY_TASK_ID" not in found:
        return tasks
    element = _array_element(found)
    return Shard(element.rank * tasks.world + tasks.rank, element.world * tasks.world)


def _array_element(found: Mapping[str, str]) -> Shard:
    """Position of this element in its Slurm array, whose ids may start anywhere and go in steps."""
    number, first, count = (_number(found, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "COUNT"))
    position, rest = divmod(number - first, _number(found, "SLURM_ARRAY_TASK_STEP", 1))
    if rest or not 0 <= position < count:
        raise PanobenchError(
            f"Slurm array element {number}: the {count} elements from {first} are not evenly spaced; "
            "use an array like 0-7, or pass --rank and --world"
        )
    return Shard(position, count)


def _number(found: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = found.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.strip().isdigit():
        raise PanobenchError(f"the environment variable {name} is {text!r}, expected a whole number")
    return int(text)
