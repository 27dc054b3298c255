import math

import pytest
import torch
from diffusers import UNetMotionModel

from core.errors import PanobenchError
from core.model.base import decode_latents, load_base
from core.model.enhance import (
    circular_padding,
    diffusion_loss,
    latitude_weights,
    roll_columns,
    rotation_columns,
    wrap_columns,
)
from tests.tiny import tiny_adapter


@pytest.fixture(scope="module")
def base(tiny_base):
    return load_base(*tiny_base)


@pytest.fixture(scope="module")
def unet(base) -> UNetMotionModel:
    return base.motion_unet()


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def test_latitude_weights_are_the_cosine_of_each_rows_latitude():
    # Eq. 10 for h = 4: rows at -67.5, -22.5, 22.5, 67.5 degrees.
    expected = [math.cos(math.radians(angle)) for angle in (-67.5, -22.5, 22.5, 67.5)]
    assert latitude_weights(4).tolist() == pytest.approx(expected, abs=1e-7)
    assert latitude_weights(512).mean().item() == pytest.approx(0.637, abs=5e-4)  # the mean the reference states


def test_loss_of_a_4_by_8_case_computed_by_hand():
    # Errors by row: 1, 2, 0, 4, the same in all 8 columns. cos 67.5 deg = .3826834, cos 22.5 deg = .9238795.
    error = torch.tensor([1.0, 2.0, 0.0, 4.0])[:, None].expand(4, 8)
    target = torch.full((4, 8), 3.0)
    small, large = 0.3826834, 0.9238795
    paper = ((small * 1) ** 2 + (large * 2) ** 2 + 0 + (small * 4) ** 2) / 4
    released = (small * 1 + large * 4 + 0 + small * 16) / 4
    assert diffusion_loss(target + error, target, "paper").item() == pytest.approx(paper, rel=1e-6)
    assert diffusion_loss(target + error, target, "released").item() == pytest.approx(released, rel=1e-6)
    assert diffusion_loss(target + error, target, "none").item() == pytest.approx(21 / 4, rel=1e-6)
    with pytest.raises(PanobenchError, match="paper, released, none"):
        diffusion_loss(target, target, "w2")


def test_rotation_falls_on_whole_columns_or_is_refused():
    assert rotation_columns(math.pi / 2, 128) == 32
    assert rotation_columns(-math.pi / 4, 32) == -4
    with pytest.raises(PanobenchError, match=r"10 degrees is 0\.888"):
        rotation_columns(math.radians(10), 32)


def test_wrap_and_roll():
    row = torch.arange(4.0)[None]
    assert wrap_columns(row, 1, 2).tolist() == [[3, 0, 1, 2, 3, 0, 1]]
    assert wrap_columns(row, 0, 1).tolist() == [[0, 1, 2, 3, 0]]
    assert roll_columns(row, 1).tolist() == [[3, 0, 1, 2]]
    assert roll_columns(row, 4) is row


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_circular_convolution_equals_a_convolution_over_three_copies(kernel):
    conv = torch.nn.Conv2d(2, 3, kernel, padding=kernel // 2)
    x = torch.randn(1, 2, 6, 8)
    expected = conv(torch.cat([x, x, x], -1))[..., 8:16]
    with circular_padding(conv):
        assert torch.allclose(conv(x), expected, atol=1e-6)


def test_encoder_decoder_and_unet_commute_with_a_roll_only_under_circular_padding(base, unet):
    picture = torch.rand(1, 3, 32, 64) * 2 - 1
    latents = torch.randn(1, 4, 8, 16)
    video, text = torch.randn(1, 4, 3, 8, 16), torch.randn(3, 32, 16)

    def encode(x):
        return base.vae.encode(x).latent_dist.mean

    def denoise(x):
        return unet(x, 500, encoder_hidden_states=text).sample

    cases = [
        (encode, picture, 4, 1),  # pixels in, latent columns out
        (lambda x: decode_latents(base.vae, x), latents, 1, 4),
        (denoise, video, 8, 8),  # three stride-2 levels: whole columns of the coarsest
    ]
    with torch.no_grad():
        for function, x, before, after in cases:
            plain = relative(function(roll_columns(x, before)), roll_columns(function(x), after))
            with circular_padding(base.vae, unet):
                circular = relative(function(roll_columns(x, before)), roll_columns(function(x), after))
            assert circular < 2e-5
            assert plain > 1e-2


def test_adapter_commutes_with_a_roll_under_circular_padding():
    adapter = tiny_adapter()
    condition = torch.rand(1, 3, 3, 32, 64) * 2 - 1
    with circular_padding(adapter):
        before = adapter(condition)
        after = adapter(roll_columns(condition, 32))
    for one, two in zip(before, after, strict=True):
        assert relative(two, roll_columns(one, one.shape[-1] // 2)) < 1e-5


def state(*modules):
    return [
        (name, sorted(child.__dict__), sorted(child._forward_hooks))
        for module in modules
        for name, child in module.named_modules()
    ]


def test_modules_are_left_as_found_also_after_an_exception_and_when_nested(base, unet):
    video, text = torch.randn(1, 4, 2, 8, 16), torch.randn(2, 32, 16)
    with torch.no_grad():
        before, expected = state(base.vae, unet), unet(video, 10, encoder_hidden_states=text).sample
        with pytest.raises(ZeroDivisionError), circular_padding(base.vae, unet):  # noqa: PT012
            with circular_padding(unet):
                inner = unet(video, 10, encoder_hidden_states=text).sample
            assert torch.equal(unet(video, 10, encoder_hidden_states=text).sample, inner)
            assert not torch.equal(inner, expected)
            raise ZeroDivisionError
        assert state(base.vae, unet) == before
        assert torch.equal(unet(video, 10, encoder_hidden_states=text).sample, expected)


def test_padding_without_a_circular_counterpart_is_refused_and_leaves_no_trace():
    good, bad = torch.nn.Conv2d(1, 1, 3, padding=1), torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    with pytest.raises(PanobenchError, match="padding_mode='reflect'"), circular_padding(good, bad):
        pass
    assert "_conv_forward" not in good.__dict__
