"""One training loop for every model: AdamW, clipped gradients, a history, and checkpoints that a killed run resumes."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import atomic_path


@dataclass(frozen=True)
class LoopSettings:
    """What the loop itself needs; defaults are those of 360DVD's training (reference: released configuration)."""

    steps: int
    learning_rate: float
    schedule: str = "constant"  # or "cosine": decays to zero
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    checkpoint_every: int = 25
    precision: str = "fp32"  # or "bf16", "fp16": mixed precision; weights and optimiser stay fp32


@dataclass
class Row:
    """One line of history.csv."""

    step: int  # counted from 1
    loss: float
    lr: float
    grad_norm: float  # before clipping
    seconds: float  # of training so far, over all runs


def fit(
    model: nn.Module,  # whose parameters that require gradients are trained
    loss_of_step: Callable[[int], Tensor],  # step from 0 -> scalar loss; must draw from nothing but the step number
    settings: LoopSettings,
    checkpoint: Path,  # one file
    identity: str,  # hash of parameters and inputs; a checkpoint of another identity is not used
    description: str = "training",
) -> list[Row]:
    """Train in place and return the history.

    A killed run goes on from the last checkpoint with the same losses as an uninterrupted one: weights and optimiser
    are restored, and a step's randomness is derived from its number, so that there is no generator state to restore.

    Raises:
        PanobenchError: the loss is not finite; the checkpoint cannot be written.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise PanobenchError(f"{description}: nothing to train")
    optimizer = torch.optim.AdamW(
        parameters.values(), settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=settings.weight_decay
    )
    device = next(iter(parameters.values())).device
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    history = _restore(checkpoint, identity, parameters, optimizer, scaler)
    before = history[-1].seconds if history else 0.0
    start = time.perf_counter()
    with tqdm(total=settings.steps, initial=len(history), desc=description, unit="step") as bar:
        for step in range(len(history), settings.steps):
            rate = learning_rate(settings, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
                loss = loss_of_step(step)
            if not torch.isfinite(loss):
                raise PanobenchError(f"{description}: loss is {loss.item()} at step {step + 1}; lower learning_rate")
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(parameters.values(), settings.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            seconds = before + time.perf_counter() - start
            history.append(Row(step + 1, loss.item(), rate, norm.item(), seconds))
            recent = history[-20:]
            bar.set_postfix(loss=f"{sum(row.loss for row in recent) / len(recent):.4f}")
            bar.update()
            if (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
                _save(checkpoint, identity, parameters, optimizer, scaler, history)
    return history


def learning_rate(settings: LoopSettings, step: int) -> float:
    """Learning rate of a step, counted from 0."""
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    raise PanobenchError(f"schedule must be constant or cosine; got {settings.schedule!r}")


def _save(
    path: Path,
    identity: str,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    history: list[Row],
) -> None:
    state = {
        "identity": identity,
        "parameters": {name: p.detach() for name, p in parameters.items()},
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "history": [asdict(row) for row in history],
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: Path,
    identity: str,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> list[Row]:
    """History of the checkpoint after loading its weights and optimiser, or [] if there is none of this identity."""
    if not path.is_file():
        return []
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several types for a file that is no checkpoint
        raise PanobenchError(f"{path}: not a readable checkpoint; remove it to start anew ({error})") from error
    if state.get("identity") != identity:
        tqdm.write(f"{path}: of other parameters or inputs, not used")
        return []
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state["parameters"][name])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    return [Row(**row) for row in state["history"]]


def write_history(path: Path, history: list[Row]) -> None:
    """Write history.csv: step, loss (lower is better), lr, grad_norm, seconds."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(history[0])), lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow(asdict(row))
