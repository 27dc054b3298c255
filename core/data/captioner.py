"""Captions of pictures by BLIP (Li et al. 2022) through transformers: four views of a panorama, and the whole of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from core.errors import PanobenchError
from core.sphere import erp_to_view

#: The views of 360 Text Fusion: yaw in degrees, 90 degrees wide.
VIEW_YAWS_DEG = (0, 90, 180, 270)
_VIEW = 384  # pixels; what BLIP sees


class Blip:
    """A captioner; the model is loaded once and works in batches."""

    def __init__(self, model: str, device: torch.device | str = "cpu") -> None:
        """Load a folder or a hub id.

        Raises:
            PanobenchError: not there, or no BLIP.
        """
        from transformers import BlipForConditionalGeneration, BlipProcessor

        local = Path(model).is_dir()
        try:
            self.processor = BlipProcessor.from_pretrained(model, local_files_only=local)
            dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
            self.model = BlipForConditionalGeneration.from_pretrained(model, local_files_only=local, dtype=dtype)
        except Exception as error:  # the loaders raise a dozen types for what is no such model
            reason = " ".join(str(error).split())[:300]
            raise PanobenchError(
                f"caption.captioner: no BLIP model in '{model}' ({reason}); give a folder that "
                "`BlipForConditionalGeneration.save_pretrained` wrote, or a hub id such as "
                "Salesforce/blip-image-captioning-large (then without HF_HUB_OFFLINE)"
            ) from error
        self.model.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def describe(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """One caption per picture, uint8 RGB `(H,W,3)`; beam search, so the same every time."""
        inputs = self.processor(images=list(pictures), return_tensors="pt").to(self.model.device, self.model.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=40, num_beams=3, do_sample=False)
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()).strip(" .") for text in texts]


def views_of(frame: np.ndarray) -> list[np.ndarray]:
    """The four views of an ERP uint8 RGB `(H,W,3)`, each uint8 RGB `(384,384,3)`, yaw 0, 90, 180, 270 degrees."""
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    return [
        erp_to_view(picture, _VIEW, _VIEW, math.pi / 2, yaw=math.radians(yaw), mode="bicubic")[0]
        .clamp(0, 255)
        .round()
        .byte()
        .permute(1, 2, 0)
        .numpy()
        for yaw in VIEW_YAWS_DEG
    ]
