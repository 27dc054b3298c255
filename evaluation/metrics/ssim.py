"""Structural similarity (Wang et al. 2004), as a map."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, SIGMA = 11, 1.5


def ssim_map(a: Tensor, b: Tensor, data_range: float = 1.0) -> Tensor:
    """SSIM of every whole window of 11 x 11 pixels, Gaussian of 1.5, (N, C, h - 10, w - 10), -1 to 1.

    Args:
        a: (N, C, h, w) float, 11 pixels or more each way.
        b: as a.
        data_range: largest minus smallest possible value.
    """
    offsets = torch.arange(WINDOW, dtype=a.dtype) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    weights = weights / weights.sum()

    def blur(x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)[:, None]
        rows = F.conv2d(flat, weights.view(1, 1, -1, 1))
        return F.conv2d(rows, weights.view(1, 1, 1, -1)).unflatten(0, x.shape[:2])[:, :, 0]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b = blur(a), blur(b)
    # In this order equal pictures give equal roundings above and below the line: they read 1 to the last digit.
    variances = (blur(a * a) - mean_a**2) + (blur(b * b) - mean_b**2)
    covariance = blur(a * b) - mean_a * mean_b
    similar = (2 * (mean_a * mean_b) + c1) * (2 * covariance + c2)
    return similar / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
