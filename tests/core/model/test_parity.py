from pathlib import Path

import pytest
import torch

from core.model.base import load_base
from core.model.groupnorm import released_groupnorm
from tests.parity import errors, main

FIXTURE = Path(__file__).parents[2] / "fixtures" / "official_tiny.safetensors"


def test_released_features_unet_latents_and_video_are_reproduced():
    found = errors(FIXTURE)
    assert len(found) == 8
    for name, (error, bound) in found.items():
        assert error <= bound, name


@pytest.mark.gpu
def test_a_gpu_reproduces_them_too(device):
    for name, (error, bound) in errors(FIXTURE, device).items():
        assert error <= bound, name


@pytest.mark.parametrize("name", [f"cuda:{torch.cuda.device_count()}", "gpu"])
def test_a_device_that_is_not_here_is_told_from_a_fixture_that_cannot_be_read(name, tmp_path, capsys):
    assert main([str(FIXTURE), "--device", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"--device: '{name}' ")
    assert "fixture" not in said
    assert ("no device" if name == "gpu" else "CUDA device") in said
    (tmp_path / "bad.safetensors").write_bytes(b"x")
    assert main([str(tmp_path / "bad.safetensors")]) == 2
    assert "bad.safetensors: not a fixture that can be compared" in capsys.readouterr().err


def test_group_statistics_cross_frames_in_resnets_only(tiny_base):
    """In ResNets a frame's statistics hold the other frames; elsewhere in the 2D layers frames stay apart."""
    unet = load_base(*tiny_base).motion_unet()
    resnet, motion = unet.down_blocks[0].resnets[0], unet.down_blocks[0].motion_modules[0]
    x = torch.randn(6, 16, 8, 16)  # two clips of three frames
    y = x.clone()
    y[0] += torch.randn(16, 8, 16)
    before = {name: sorted(module.__dict__) for name, module in unet.named_modules()}
    with torch.no_grad(), released_groupnorm(unet):
        unet(torch.randn(1, 4, 3, 8, 16), 1, encoder_hidden_states=torch.randn(3, 32, 16))  # sets the frame count
        moved = (resnet.norm1(x) - resnet.norm1(y)).abs().amax((1, 2, 3)) > 1e-4
        assert moved.tolist() == [True, True, True, False, False, False]
        clips = [t.unflatten(0, (2, 3)).transpose(1, 2) for t in (x, y)]
        moved = (motion.norm(clips[0]) - motion.norm(clips[1])).abs().amax((1, 3, 4)) > 1e-4
        assert moved.tolist() == [[True, False, False], [False, False, False]]
    assert before == {name: sorted(module.__dict__) for name, module in unet.named_modules()}
    with pytest.raises(ZeroDivisionError), released_groupnorm(unet):
        raise ZeroDivisionError
    assert not unet._forward_pre_hooks
