"""How the nano base is trained, read from `assets/nano/pretrain.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.errors import PanobenchError
from core.nano.pretrain.loop import Plan

PLANS = ("vae", "decoder", "judge", "unet", "motion", "polish")


@dataclass(frozen=True)
class Settings:
    """The contents of `assets/nano/pretrain.yaml`."""

    seed: int
    size: tuple[int, int]
    frames: int
    erp_share: float
    data: dict[str, int]
    vae: Plan
    decoder: Plan
    judge: Plan
    unet: Plan
    motion: Plan
    polish: Plan
    sample_steps: int = 25  # DDIM steps of the card's samples
    notes: tuple[str, ...] = ()  # sentences that the card adds below its table of runs

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Parse the file; PanobenchError names what is missing or unknown."""
        try:
            raw: dict[str, Any] = yaml.safe_load(path.read_text())
            plans = {name: Plan(**raw.pop(name)) for name in PLANS}
            notes = tuple(raw.pop("notes", ()))
            return cls(**{**raw, "size": tuple(raw["size"]), "notes": notes, **plans})
        except (OSError, TypeError, KeyError, yaml.YAMLError) as error:
            raise PanobenchError(f"{path}: not a description of a pretraining run: {error}") from error
