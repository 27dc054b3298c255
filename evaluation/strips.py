"""Strips of an ERP around meridians, and the same strips with the meridian bridged: is there a line in the middle?

A strip is bridged by drawing a straight line, in every row, over the two columns on each side of its middle. Where the
picture goes on smoothly that takes away a little texture; where there is a seam it takes away the seam. So the distance
between a strip and its bridged self, at the seam against other meridians, is how much of the seam is to be seen.

The other meridians are the multiples of W / 16. A decoder draws blocks of a power of two of pixels, whose borders show
a little; the seam lies on such a border, and so do these meridians, for every block size up to W / 16.
"""

import torch
from torch import Tensor

#: Meridians that are looked at, the seam among them.
MERIDIANS = 16
#: Columns on each side of the meridian that are bridged.
BRIDGE = 2
_LEAST_HALF = 6  # a strip must hold a window of SSIM


def meridians(width: int) -> list[int]:
    """The column to the right of each meridian; the first is the seam, column 0."""
    return [number * width // MERIDIANS for number in range(MERIDIANS)]


def strips(pictures: Tensor) -> Tensor:
    """(..., H, W) -> (16, ..., H, W / 8): the strip centred on each meridian, the seam's first."""
    width = pictures.shape[-1]
    half = max(_LEAST_HALF, width // MERIDIANS)
    columns = torch.tensor([[(m + offset) % width for offset in range(-half, half)] for m in meridians(width)])
    return pictures[..., columns].movedim(-2, 0)


def bridged(strip: Tensor) -> Tensor:
    """The same with a straight line over its four middle columns, (..., H, w)."""
    middle = strip.shape[-1] // 2
    left, right = strip[..., middle - BRIDGE - 1, None], strip[..., middle + BRIDGE, None]
    share = torch.arange(1, 2 * BRIDGE + 1) / (2 * BRIDGE + 1)
    line = left * (1 - share) + right * share
    return torch.cat([strip[..., : middle - BRIDGE], line, strip[..., middle + BRIDGE :]], dim=-1)


def squares(strip: Tensor) -> Tensor:
    """(M, 3, H, w) -> (M * 3, 3, w, w): three squares of each strip, about 40 degrees apart, none at a pole."""
    height, width = strip.shape[-2:]
    tops = [round((height - width) * share) for share in (0.2, 0.5, 0.8)]
    return torch.stack([strip[..., top : top + width, :] for top in tops], dim=1).flatten(0, 1)
