"""The GroupNorm of AnimateDiff's own first version, which v14 motion modules and the released 360-Adapter expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from diffusers import UNetMotionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn
from torch.nn import functional as F

from core.model.enhance import override


@contextmanager
def released_groupnorm(unet: UNetMotionModel) -> Iterator[None]:
    """Take group statistics as the released code does while the context is open.

    Over all frames of a clip in ResNets and before the last convolution, over each frame in motion modules; diffusers
    does the opposite in both. Modules are left as found, also after an exception.
    """
    frames = [1]

    def count_frames(_module: nn.Module, arguments: tuple, named: dict) -> None:
        sample = arguments[0] if arguments else named["sample"]
        frames[0] = sample.shape[2]

    with ExitStack() as stack:
        stack.callback(unet.register_forward_pre_hook(count_frames, with_kwargs=True).remove)
        pooled = [m for block in unet.modules() if isinstance(block, ResnetBlock2D) for m in (block.norm1, block.norm2)]
        for norm in [*pooled, unet.conv_norm_out]:
            stack.enter_context(override(norm, "forward", _over_frames(norm, frames)))
        for module in unet.modules():
            if isinstance(module, AnimateDiffTransformer3D):
                stack.enter_context(override(module.norm, "forward", _per_frame(module.norm)))
        yield


def _over_frames(norm: nn.GroupNorm, frames: list[int]):
    """(B*F,C,h,w), statistics over a clip's frames, height and width."""

    def forward(x: Tensor) -> Tensor:
        clip = x.unflatten(0, (-1, frames[0])).transpose(1, 2)
        clip = F.group_norm(clip, norm.num_groups, norm.weight, norm.bias, norm.eps)
        return clip.transpose(1, 2).flatten(0, 1)

    return forward


def _per_frame(norm: nn.GroupNorm):
    """(B,C,F,h,w), statistics over each frame's height and width."""

    def forward(x: Tensor) -> Tensor:
        batch = x.shape[0]
        flat = x.transpose(1, 2).flatten(0, 1)
        flat = F.group_norm(flat, norm.num_groups, norm.weight, norm.bias, norm.eps)
        return flat.unflatten(0, (batch, -1)).transpose(1, 2)

    return forward
