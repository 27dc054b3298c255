"""Shares of work by what launchers say."""

import pytest

from core.errors import PanobenchError
from core.shards import Shard, find_shard

ARRAY = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "5"}


def test_shares_are_disjoint_and_complete():
    items = list(range(11))
    shares = [Shard(rank, 4).of(items) for rank in range(4)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Shard(0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "8", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, Shard(2, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Shard(1, 2)),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "20"}, Shard(2, 4)),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "25", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, Shard(7, 8)),
    ],
)
def test_launchers(environment, expected):
    assert find_shard(environment=environment) == expected
    assert find_shard(0, 3, environment) == Shard(0, 3)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((1, None), {}, "--rank and --world go together"),
        ((3, 3), {}, "rank 3 of 3 processes: expected 0 to 2"),
        ((None, None), {"WORLD_SIZE": "2"}, "RANK is None, expected a whole number"),
        ((None, None), {"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two'"),
        ((None, None), ARRAY | {"SLURM_ARRAY_TASK_ID": "12"}, "not evenly spaced"),
        ((None, None), ARRAY | {"SLURM_ARRAY_TASK_ID": "30"}, "not evenly spaced"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, environment, message):
    with pytest.raises(PanobenchError, match=message):
        find_shard(*arguments, environment)
