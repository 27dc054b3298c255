"""Means over patches of an ERP, the same after a yaw by whole pixels."""

import torch
import torch.nn.functional as F

from core.sphere import pad_wrap

#: Patches from pole to pole; as wide as they are high, 11 degrees.
PATCH_ROWS = 16


def patch_means(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the masked part of the patch around each pixel; 0 where nothing of it is masked.

    Rows are cut into bands; along a row there is a patch around every pixel, across the seam too.

    Args:
        values: (T, C, H, W) floating.
        mask: (T, H, W) bool.

    Returns:
        As ``values``.
    """
    height, width = values.shape[-2:]
    high, wide = max(1, height // PATCH_ROWS), max(1, width // (2 * PATCH_ROWS))

    def blocks(x: torch.Tensor) -> torch.Tensor:
        around = pad_wrap(x, wide // 2, wide - 1 - wide // 2)
        return F.avg_pool2d(around, (high, wide), stride=(high, 1), ceil_mode=True)

    weight = mask[:, None].to(values)
    means = blocks(values * weight) / blocks(weight).clamp_min(1e-6)
    return means.repeat_interleave(high, dim=2)[:, :, :height]
