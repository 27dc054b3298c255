"""The loss by timestep: a curve per part of the noise schedule, since their mean hides what each of them does."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from core.files import atomic_path

BUCKETS = 10  # equal parts of the schedule


@dataclass
class CurveRow:
    """One line of loss_by_timestep.csv: a part of the schedule, over the steps since its last line."""

    step: int  # the last of those steps, counted from 1
    first_timestep: int
    last_timestep: int
    loss: float  # mean over the samples, lower is better
    samples: int


def bucket_sums(losses: Tensor, timesteps: Tensor, schedule: int) -> Tensor:
    """Sum of the losses (B,) and number of samples per bucket, (2, BUCKETS) float64."""
    buckets = timesteps.cpu() * BUCKETS // schedule
    sums = torch.zeros(2, BUCKETS, dtype=torch.float64)
    sums[0].index_add_(0, buckets, losses.detach().double().cpu())
    sums[1].index_add_(0, buckets, torch.ones(len(losses), dtype=torch.float64))
    return sums


def curve_rows(step: int, sums: Tensor, schedule: int) -> list[CurveRow]:
    """The lines of all buckets that had samples."""
    edges = [-(-bucket * schedule // BUCKETS) for bucket in range(BUCKETS + 1)]
    return [
        CurveRow(step, edges[bucket], edges[bucket + 1] - 1, total / count, round(count))
        for bucket, (total, count) in enumerate(sums.T.tolist())
        if count
    ]


def write_rows(path: Path, rows: Sequence[object]) -> None:
    """Write dataclass instances of one kind as CSV with a header."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(rows[0])], lineterminator="\n")  # type: ignore[arg-type]
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)  # type: ignore[call-overload]
