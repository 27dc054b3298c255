"""The two compatibility presets: what the 360DVD paper says and what the authors' code does, as named switches."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import PanobenchError, did_you_mean


@dataclass(frozen=True)
class Preset:
    """How the 360 enhancement techniques and the adapter are applied; whether they are is the method's choice."""

    name: str
    # Latent rotation: latents turn by this angle after every denoising step.
    theta_deg: float = 90.0
    # The motion condition turns with the latents. The authors' code meant to and does not: a local name is rebound.
    rotate_condition: bool = True
    # The latents turn back before decoding. In the authors' code 25 steps leave the video turned by 90 degrees.
    undo_rotation: bool = True
    # Circular padding in the last floor(T/2) steps (paper) or ceil(T/2) steps (authors' code: i >= T // 2).
    circular_rounds_up: bool = False
    # Overrides the two: first step with circular padding, 0 is all of them.
    circular_from_step: int | None = None
    # The adapter's own convolutions are padded with the U-Net's. Only so does a rolled condition give rolled features.
    pad_adapter: bool = True
    # The adapter acts at every step (paper) or while i <= T // 4 * 3 (authors' code).
    adapter_every_step: bool = True
    # A flow video is read with the stride of the training. The authors' code reads 16 consecutive maps.
    stride_motion: bool = True
    # Group statistics as in AnimateDiff's own first version, for which v14 motion modules and the released adapter were
    # trained; diffusers pools them the other way round.
    released_groupnorm: bool = False

    def first_circular_step(self, steps: int) -> int:
        """Index of the first denoising step that runs with circular padding."""
        if self.circular_from_step is not None:
            return self.circular_from_step
        return steps // 2 if self.circular_rounds_up else steps - steps // 2

    def adapter_acts(self, step: int, steps: int) -> bool:
        """Whether the adapter's features are added at this step, counted from 0."""
        return self.adapter_every_step or step <= steps // 4 * 3


PRESETS = {
    "paper": Preset("paper"),
    "released": Preset(
        "released",
        rotate_condition=False,
        undo_rotation=False,
        circular_rounds_up=True,
        pad_adapter=False,
        adapter_every_step=False,
        stride_motion=False,
        released_groupnorm=True,
    ),
}


def get_preset(name: str) -> Preset:
    """The preset of this name."""
    if name not in PRESETS:
        raise PanobenchError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}{did_you_mean(name, list(PRESETS))}")
    return PRESETS[name]
