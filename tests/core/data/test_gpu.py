"""What the data stages run on a GPU: the VAE, the text encoder and the captioner, against the CPU."""

import numpy as np
import pytest
import torch

from core.data.captioner import Blip
from core.data.encode import encode_video
from core.model.base import encode_text, load_base
from tests.tiny import FRAMES, HEIGHT, WIDTH, write_tiny_blip

pytestmark = pytest.mark.gpu


def test_latents_and_text_embeddings_are_the_cpus(tiny_base, device):
    """To a step of half precision, in which latents are kept: 1e-3 of a value of 1."""
    video = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    here, there = load_base(tiny_base[0]), load_base(tiny_base[0], device=device)
    for circular in (True, False):
        pairs = zip(*(encode_video(base.vae, video, 3, circular) for base in (here, there)), strict=True)
        for expected, found in pairs:
            assert (found.dtype, found.device.type) == (torch.float16, "cpu")
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    texts = ["a red ball on a green meadow, at noon", ""]
    expected, found = (encode_text(base.tokenizer, base.text_encoder, texts).cpu() for base in (here, there))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_captions_in_half_precision(tmp_path, device):
    folder = write_tiny_blip(tmp_path / "blip")
    pictures = list(np.random.default_rng(0).integers(0, 255, (2, 48, 48, 3), dtype=np.uint8))
    blip = Blip(str(folder), device)
    assert blip.model.dtype == (torch.float16 if device.type == "cuda" else torch.float32)
    captions = blip.describe(pictures)
    assert all(captions)
    assert captions == Blip(str(folder)).describe(pictures)
