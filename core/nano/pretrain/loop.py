"""The one training loop of pretraining: AdamW, cosine schedule, EMA, curve, checkpoints that resume to the same run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from core.files import atomic_path

CHECKPOINT_SECONDS = 120.0
#: Steps between readings of the loss: every reading makes a GPU wait for the CPU.
_READ_EVERY = 20


@dataclass(frozen=True)
class Plan:
    """How long and how fast one network is trained."""

    steps: int
    batch: int
    learning_rate: float
    ema: float
    warmup: int = 50
    bf16: bool = False  # matrix products in bfloat16, where weights and optimiser stay float32


def fit(
    name: str,
    module: nn.Module,
    loss: Callable[[torch.Generator], Tensor],
    plan: Plan,
    folder: Path,
    seed: int,
) -> dict[str, float]:
    """Train `module` in place until `plan.steps`; it ends holding the exponential moving average of its weights.

    Every step draws from a generator seeded by (seed, step), so a resumed run continues as the uninterrupted one.

    Args:
        name: of the curve `{name}.csv` (step, loss, learning_rate) and the checkpoint `{name}.pt` in `folder`.
        module: the network, on the device that trains it; only parameters that require gradients are trained.
        loss: called with the step's generator, returns a scalar.
        plan: steps, batch and optimiser.
        folder: where checkpoints and curves live.
        seed: of the run.

    Returns:
        `steps`, `seconds` and the mean `loss` of the last twentieth of the steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curve, checkpoint = folder / f"{name}.csv", folder / f"{name}.pt"
    trained = [p for p in module.parameters() if p.requires_grad]
    device = device_of(module)
    average = _zero_average(module, plan.ema)
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    rows: list[dict[str, float]] = []
    start, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        module.load_state_dict(state["module"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start, seconds = state["step"], state["seconds"]
        rows = [{str(k): v for k, v in row.items()} for row in pd.read_csv(curve).head(start).to_dict("records")]
    generator = torch.Generator()
    began = saved = time.monotonic()
    module.train()
    progress = tqdm(range(start, plan.steps), initial=start, total=plan.steps, desc=name, mininterval=2.0)

    unread: list[Tensor] = []

    def read() -> None:
        for row, loss in zip(rows[len(rows) - len(unread) :], torch.stack(unread).tolist(), strict=True):
            row["loss"] = loss
        unread.clear()

    def save(step: int) -> None:
        pd.DataFrame(rows).to_csv(curve, index=False)
        with atomic_path(checkpoint) as temporary:
            torch.save(
                {
                    "module": module.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "seconds": seconds + time.monotonic() - began,
                },
                temporary,
            )

    for step in progress:
        rate = plan.learning_rate * _cosine(step, plan)
        for group in optimizer.param_groups:
            group["lr"] = rate
        generator.manual_seed(seed * 1_000_003 + step)
        # Networks draw too (the VAE's posterior), from the global stream.
        torch.manual_seed(seed * 1_000_003 + step)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
            value = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        average.update_parameters(module)
        rows.append({"step": step + 1, "loss": math.nan, "learning_rate": rate})
        unread.append(value.detach())
        due = time.monotonic() - saved > CHECKPOINT_SECONDS
        if due or len(unread) == _READ_EVERY or step + 1 == plan.steps:
            read()
            progress.set_postfix(loss=f"{rows[-1]['loss']:.4f}", refresh=False)
        if due:
            save(step + 1)
            saved = time.monotonic()
    if start < plan.steps:
        save(plan.steps)
        seconds += time.monotonic() - began
    _take_average(module, average, plan)
    module.eval()
    tail = rows[-max(1, len(rows) // 20) :]
    return {
        "steps": float(plan.steps),
        "seconds": seconds,
        "loss": sum(row["loss"] for row in tail) / len(tail),
    }


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(module.parameters()).device


def _zero_average(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average that starts at zero, so that nothing of the random start stays in it."""
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.zero_()
    # A fresh AveragedModel would begin by copying the module instead of averaging.
    average.n_averaged.fill_(1)
    return average


@torch.no_grad()
def _take_average(module: nn.Module, average: AveragedModel, plan: Plan) -> None:
    """Copy the average into the module, corrected for its start at zero as Adam's moments are."""
    module.load_state_dict(average.module.state_dict())
    for parameter in module.parameters():
        parameter.div_(1.0 - plan.ema**plan.steps)


def _cosine(step: int, plan: Plan) -> float:
    """Linear warmup, then a half cosine down to 2 % of the rate."""
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return 0.02 + 0.49 * (1.0 + math.cos(math.pi * done))
