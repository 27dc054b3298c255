"""Statistics of the pixels of flat pictures, without a network."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BOX = 9
_NOISE = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]).view(1, 1, 3, 3)
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # Rec. 601


def view_statistics(pictures: Tensor) -> Tensor:
    """Six numbers per picture, grey levels of luma, (N, 6).

    0 mean absolute step from row to row; 1 how much of it a box blur over nine rows takes away; 2 and 3 the same from
    column to column (Crete et al. 2007); 4 mean absolute response of Immerkaer's filter, which is blind to slopes and
    edges (1996); 5 standard deviation.

    Args:
        pictures: (N, 3, S, S) float, [0, 1], S of 3 pixels or more.
    """
    luma = 255 * (pictures * _LUMA).sum(dim=1, keepdim=True)
    parts = []
    for dim in (2, 3):
        step = luma.diff(dim=dim).abs()
        blurred = _box(luma, dim).diff(dim=dim).abs()
        parts += [step.mean(dim=(1, 2, 3)), (step - blurred).clamp_min(0).mean(dim=(1, 2, 3))]
    parts += [F.conv2d(luma, _NOISE).abs().mean(dim=(1, 2, 3)), luma.std(dim=(1, 2, 3), correction=0)]
    return torch.stack(parts, dim=1)


def _box(x: Tensor, dim: int) -> Tensor:
    """Mean of nine pixels along one dimension, edges repeated."""
    reach = _BOX // 2
    padding = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
    size = (_BOX, 1) if dim == 2 else (1, _BOX)
    return F.avg_pool2d(F.pad(x, padding, mode="replicate"), size, stride=1)
