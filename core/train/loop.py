"""One training loop for every model: AdamW, clipped gradients, a history, and checkpoints that a killed run resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from core.errors import PanobenchError
from core.files import atomic_path
from core.train.curve import BUCKETS, CurveRow, bucket_sums, curve_rows, write_rows
from core.train.diffusion import LossOfRows, Rows
from core.train.processes import Processes


@dataclass(frozen=True)
class LoopSettings:
    """What the loop itself needs; defaults are those of 360DVD's training (reference: released configuration)."""

    steps: int
    learning_rate: float
    batch: int = 1  # rows of a micro-batch
    gradient_accumulation: int = 1  # micro-batches per step and process
    schedule: str = "constant"  # or "cosine": decays to zero
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    checkpoint_every: int = 25
    validation_every: int | None = None
    precision: str = "fp32"  # or "bf16", "fp16": mixed precision; weights and optimiser stay fp32
    ema: float | None = None  # decay of the averaged weights, which replace the trained ones at the end
    timesteps: int = 1000  # of the noise schedule
    curve_every: int = 25  # steps per line of the loss by timestep


@dataclass
class Row:
    """One line of history.csv."""

    step: int  # counted from 1
    loss: float  # mean over all rows of the step, lower is better
    lr: float
    grad_norm: float  # before clipping
    seconds: float  # of training so far, over all runs


@dataclass
class History:
    """What a training leaves besides its weights."""

    rows: list[Row] = field(default_factory=list)
    curve: list[CurveRow] = field(default_factory=list)
    # Of the steps since the last lines of `curve`: see `bucket_sums`.
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, BUCKETS, dtype=torch.float64))

    def write(self, folder: Path) -> None:
        """Write `history.csv` and, once it has lines, `loss_by_timestep.csv`."""
        write_rows(folder / "history.csv", self.rows)
        if self.curve:
            write_rows(folder / "loss_by_timestep.csv", self.curve)


def fit(
    model: nn.Module,  # whose parameters that require gradients are trained
    losses: LossOfRows,
    settings: LoopSettings,
    checkpoint: Path,  # one file
    identity: str,  # hash of parameters and inputs; a checkpoint of another identity is not used
    description: str = "training",
    processes: Processes | None = None,
    validate: Callable[[int], None] | None = None,  # called in every process with the number of steps done
) -> History:
    """Train in place and return the history.

    A step has batch x gradient_accumulation x processes rows; how they are divided changes the result by rounding only.
    A killed run goes on from the last checkpoint with the same losses as an uninterrupted one: weights, their average,
    optimiser and loss scale are restored, and what a step draws is derived from its number, so that there is neither
    generator state nor position in the data to restore.

    Raises:
        PanobenchError: the loss is not finite; the checkpoint cannot be read or written; processes do not agree.
    """
    processes = processes or Processes()
    state = _State(model, settings, description)
    device = next(iter(state.parameters.values())).device
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
    history = state.restore(checkpoint, identity)
    done = len(history.rows)
    processes.agree(done, f"the step of {checkpoint}; it must be on a disk that all of them see")
    shares = _shares(settings, processes, done)
    before = history.rows[-1].seconds if history.rows else 0.0
    start = time.perf_counter()
    with tqdm(total=settings.steps, initial=done, desc=description, unit="step", disable=not processes.main) as bar:
        for step in range(done, settings.steps):
            rate = learning_rate(settings, step)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad(set_to_none=True)
            measured = torch.zeros(1 + 2 * BUCKETS, dtype=torch.float64)  # mean loss, and sums by timestep
            for _ in range(settings.gradient_accumulation):
                rows, following = next(shares)
                with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
                    found = losses(rows, following)
                state.scaler.scale(found.mean / settings.gradient_accumulation).backward()
                measured[0] += found.mean.item() / settings.gradient_accumulation
                measured[1:] += bucket_sums(found.each, found.timesteps, settings.timesteps).flatten()
            if processes.world > 1:
                # As fp32 on the device: NCCL carries nothing from the CPU, and not every device has fp64.
                processes.mean_([*state.gradients(), shared := measured.to(device, torch.float32)])
                measured = shared.cpu().double()
                measured[1:] *= processes.world
            loss = measured[0].item()
            if not math.isfinite(loss):
                raise PanobenchError(f"{description}: loss is {loss} at step {step + 1}; lower learning_rate")
            norm = state.update(settings.clip_norm)
            history.rows.append(Row(step + 1, loss, rate, norm, before + time.perf_counter() - start))
            history.sums += measured[1:].view(2, BUCKETS)
            if (step + 1) % settings.curve_every == 0 or step + 1 == settings.steps:
                history.curve += curve_rows(step + 1, history.sums, settings.timesteps)
                history.sums.zero_()
            recent = history.rows[-20:]
            bar.set_postfix(loss=f"{sum(row.loss for row in recent) / len(recent):.4f}")
            bar.update()
            if validate is not None and settings.validation_every and (step + 1) % settings.validation_every == 0:
                with state.averaged():
                    validate(step + 1)
            if processes.main and (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.steps:
                state.save(checkpoint, identity, history)
    if state.ema is not None:
        state.ema.copy_to(state.parameters.values())
    return history


def _shares(settings: LoopSettings, processes: Processes, first_step: int) -> Iterator[tuple[Rows, Rows | None]]:
    """The rows of each micro-batch of this process, in order, and those of the next."""
    parts, micro = settings.gradient_accumulation, settings.batch

    def rows(index: int) -> Rows:
        step, part = divmod(index, parts)
        first = (part * processes.world + processes.rank) * micro
        return Rows(step, range(first, first + micro), micro * parts * processes.world)

    end = settings.steps * parts
    for index in range(first_step * parts, end):
        yield rows(index), rows(index + 1) if index + 1 < end else None


def learning_rate(settings: LoopSettings, step: int) -> float:
    """Learning rate of a step, counted from 0."""
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    raise PanobenchError(f"schedule must be constant or cosine; got {settings.schedule!r}")


class _State:
    """All that changes from step to step, and its file."""

    def __init__(self, model: nn.Module, settings: LoopSettings, description: str) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise PanobenchError(f"{description}: nothing to train")
        trained = self.parameters.values()
        self.optimizer = torch.optim.AdamW(
            trained, settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=settings.weight_decay
        )
        device = next(iter(trained)).device
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.ema = None if settings.ema is None else EMAModel(trained, decay=settings.ema)

    def gradients(self) -> list[Tensor]:
        """Of all trained parameters; zeros where the loss did not reach one, so that processes exchange alike."""
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]

    def update(self, clip_norm: float) -> float:
        """One optimiser step; returns the norm of the gradients before clipping."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.step(self.parameters.values())
        return norm.item()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the trained ones, where there are any, while the context is open."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.parameters.values())
        self.ema.copy_to(self.parameters.values())
        try:
            yield
        finally:
            self.ema.restore(self.parameters.values())

    def save(self, path: Path, identity: str, history: History) -> None:
        content = {
            "identity": identity,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "history": [asdict(row) for row in history.rows],
            "curve": [asdict(row) for row in history.curve],
            "sums": history.sums,
        }
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
        history.write(path.parent)  # to look at meanwhile; a resumed run reads the checkpoint

    def restore(self, path: Path, identity: str) -> History:
        """History of the checkpoint after loading all else from it; an empty one if there is none of this identity."""
        if not path.is_file():
            return History()
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises several types for a file that is no checkpoint
            raise PanobenchError(f"{path}: not a readable checkpoint; remove it to start anew ({error})") from error
        if content.get("identity") != identity:
            tqdm.write(f"{path}: of other parameters or inputs, not used")
            return History()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(content["parameters"][name])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
            self.ema.to(next(iter(self.parameters.values())).device)
        rows, curve = [Row(**row) for row in content["history"]], [CurveRow(**row) for row in content["curve"]]
        return History(rows, curve, content["sums"])
