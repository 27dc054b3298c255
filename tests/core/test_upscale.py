"""Enlargement around the sphere."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from core.sphere import erp_directions
from core.upscale import upscale_erp


def smooth(height: int) -> np.ndarray:
    """A smooth picture of the sphere, (1, H, 2H, 3): low powers of the direction, the same at any size."""
    x, y, z = erp_directions(height, 2 * height).numpy().transpose(2, 0, 1)
    values = np.stack((x * y + 0.5 * z, y * z - 0.3 * x, x * z * y + 0.4 * x), axis=-1)
    return np.rint(127.5 + 100 * values).clip(0, 255).astype(np.uint8)[None]


@pytest.mark.parametrize("factor", [2, 3])
def test_a_smooth_sphere_is_met_everywhere_also_at_seam_and_poles(factor):
    height = 32
    error = np.abs(upscale_erp(smooth(height), factor).astype(int) - smooth(factor * height))[0]
    assert error.max() <= 2
    flat = Image.fromarray(smooth(height)[0]).resize((2 * factor * height, factor * height), Image.Resampling.BICUBIC)
    edges = np.abs(np.asarray(flat).astype(int) - smooth(factor * height)[0])
    assert edges[:, [0, -1]].mean() > 2 * error[:, [0, -1]].mean()  # what does not know the sphere shows a seam


def test_turning_and_enlarging_commute_and_the_inside_is_plain_bicubic():
    frames = np.random.default_rng(0).integers(0, 255, (2, 16, 32, 3), dtype=np.uint8)
    large, double = upscale_erp(frames, 3), upscale_erp(frames, 2)
    for columns in (1, 16, 31):
        turned = np.roll(frames, columns, 2)
        assert np.array_equal(upscale_erp(turned, 2), np.roll(double, 2 * columns, 2))
        # Thirds are not exact in floating point: a value between two grey levels may go either way.
        assert np.abs(upscale_erp(turned, 3).astype(int) - np.roll(large, 3 * columns, 2)).max() <= 1
    assert np.array_equal(upscale_erp(frames[:, ::-1], 2), double[:, ::-1])
    plain = F.interpolate(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), scale_factor=3, mode="bicubic")
    inside = plain.round().clamp(0, 255).permute(0, 2, 3, 1).numpy()[:, 9:-9, 9:-9]
    assert np.abs(large[:, 9:-9, 9:-9].astype(int) - inside).max() <= 1


def test_what_is_no_panorama_is_refused():
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="twice as wide as high"):
        upscale_erp(frames, 2)
    with pytest.raises(ValueError, match="1 or more, not 0"):
        upscale_erp(frames, 0)
    assert upscale_erp(frames, 1) is frames
    assert math.prod(upscale_erp(np.zeros((1, 2, 4, 3), np.uint8), 2).shape) == 4 * 8 * 3
