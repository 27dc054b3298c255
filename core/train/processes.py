"""One training over several processes: what they must agree on, on top of accelerate's process group.

`accelerate launch` (or torchrun) starts the same command several times and says so in the environment; without it
there is one process and nothing here does anything. All that is exchanged is the gradients of the trained weights, once
per optimiser step: the frozen U-Net holds none, and an adapter's are complete only when the backward pass has ended, so
that wrapping the model to send them earlier would win nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.device import default_device
from core.errors import PanobenchError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=default_device)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, with one message for all of them."""
        if self.world == 1:
            return
        tensors = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, number: int, what: str) -> None:
        """Raise PanobenchError unless every process has the same number."""
        if self.world == 1:
            return
        ends = torch.tensor([number, -number], device=self.device)
        torch.distributed.all_reduce(ends, op=torch.distributed.ReduceOp.MAX)
        if ends[0] != -ends[1]:
            raise PanobenchError(f"the processes differ in {what} ({-ends[1].item()} to {ends[0].item()})")

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            torch.distributed.barrier()


def start_processes(precision: str) -> Processes:
    """Join the process group that the environment names; one process alone where it names none.

    Args:
        precision: of the parameters; `accelerate launch --mixed_precision` must not say otherwise.

    Raises:
        PanobenchError: the launcher was asked for something that training does not do, or started too few processes.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", precision):
        raise PanobenchError(
            f"accelerate launch says mixed_precision {launched}, the parameters say {precision}; "
            "set training.NAME.precision and leave --mixed_precision out"
        )
    for name in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise PanobenchError(f"accelerate launch was asked for {name.lower()}; training is data-parallel only")
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ:
        # accelerate's own launcher for machines without GPUs takes --num_processes and starts one process.
        raise PanobenchError(
            "accelerate launch was given several processes and started one, as it does without GPUs; "
            "leave --cpu out and add --multi_gpu, which starts them on CPUs too"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=default_device().type == "cpu")
    return Processes(state.process_index, state.num_processes, state.device)
