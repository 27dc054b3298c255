from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import PanobenchError
from core.model.adapter import Adapter360, inject_features
from tests.tiny import tiny_adapter

FIXTURE = Path(__file__).parents[2] / "fixtures" / "official_tiny.safetensors"


@pytest.fixture(scope="module")
def released() -> dict[str, torch.Tensor]:
    return load_file(FIXTURE)


def released_adapter(tensors: dict[str, torch.Tensor]) -> Adapter360:
    adapter = Adapter360(channels=(32, 32, 64, 64)).eval()
    state = {k.removeprefix("weights.adapter."): v.float() for k, v in tensors.items() if "weights.adapter." in k}
    adapter.load_state_dict(state, strict=True)
    return adapter


def test_features_equal_those_of_the_released_code(released):
    with torch.no_grad():
        features = released_adapter(released)(released["input.flow"].float())
    for k, feature in enumerate(features):
        expected = released[f"expected.adapter_feature.{k}"]
        ours = feature.unflatten(0, (1, 6)).transpose(1, 2)
        assert (ours - expected).abs().max() / expected.abs().max() < 1e-5


def test_full_size_has_the_published_parameters_and_names(released):
    with torch.device("meta"):
        adapter = Adapter360()
    assert sum(p.numel() for p in adapter.parameters()) == 47_051_840
    names = set(adapter.state_dict())
    assert len(names) == 22
    small = {k.removeprefix("weights.adapter.") for k in released if k.startswith("weights.adapter.")}
    # The fixture's first two widths are equal, so that its second block needs no in_conv; the full size has one more.
    assert names - small == {"body.1.in_conv.weight", "body.1.in_conv.bias"}
    assert adapter.body[3].block2.weight.shape == (1280, 1280, 3, 1, 1)


@pytest.mark.parametrize("options", [{}, {"pseudo_3d": False}, {"latitude_channels": True}, {"zero_output": True}])
def test_save_and_load_give_the_same_features(tmp_path, options):
    adapter = tiny_adapter(**options)
    adapter.save_pretrained(tmp_path)
    condition = torch.rand(2, 3, 3, 32, 64) * 2 - 1
    for one, two in zip(adapter(condition), Adapter360.from_pretrained(tmp_path)(condition), strict=True):
        assert torch.equal(one, two)


def test_without_pseudo_3d_no_frame_sees_another():
    condition = torch.rand(1, 4, 3, 32, 64)
    changed = condition.clone()
    changed[:, 2] = 0
    for pseudo_3d in (True, False):
        adapter = tiny_adapter(pseudo_3d=pseudo_3d)
        moved = (adapter(condition)[1] - adapter(changed)[1]).abs().amax((1, 2, 3)) > 0
        # A temporal kernel of 3 in each of the first two blocks reaches two frames each way.
        assert moved.tolist() == ([True] * 4 if pseudo_3d else [False, False, True, False])


def test_latitude_channels_tell_rows_apart_without_a_condition():
    feature = tiny_adapter(latitude_channels=True)(torch.zeros(1, 1, 3, 64, 128))[0]
    inner = feature[0, :, 2:-2, 4]
    assert (inner[:, 1:] - inner[:, :-1]).abs().max() > 1e-4
    feature = tiny_adapter()(torch.zeros(1, 1, 3, 64, 128))[0]
    inner = feature[0, :, 2:-2, 4]
    assert (inner[:, 1:] - inner[:, :-1]).abs().max() < 1e-6


def test_zero_output_starts_at_nothing_and_learns():
    adapter = tiny_adapter(zero_output=True).requires_grad_(True)
    features = adapter(torch.rand(1, 2, 3, 32, 64))
    assert all(feature.abs().max() == 0 for feature in features)
    sum((feature - 1).square().mean() for feature in features).backward()
    assert all(conv.weight.grad.abs().max() > 0 for conv in adapter.zero_convs)


def test_wrong_condition_is_refused():
    adapter = tiny_adapter()
    with pytest.raises(PanobenchError, match=r"must be \(B, F, 3, H, W\)"):
        adapter(torch.zeros(1, 3, 4, 32, 64))
    with pytest.raises(PanobenchError, match="multiples of 32"):
        adapter(torch.zeros(1, 4, 3, 40, 80))


class TwoBlocks(torch.nn.Module):
    """Down blocks that return (hidden, skips), as the U-Net's do."""

    class Block(torch.nn.Module):
        def forward(self, x):
            return x, (x - 1, x)

    def __init__(self):
        super().__init__()
        self.down_blocks = torch.nn.ModuleList([self.Block(), self.Block()])


def test_features_reach_hidden_state_and_last_skip_and_serve_both_halves():
    unet = TwoBlocks()
    features = [torch.full((2, 1, 1, 1), 10.0), torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)]
    x = torch.zeros(4, 1, 1, 1)
    with inject_features(unet, features):
        hidden, skips = unet.down_blocks[1](x)
    assert hidden.flatten().tolist() == [1, 2, 1, 2]
    assert torch.equal(skips[1], hidden)
    assert skips[0].flatten().tolist() == [-1] * 4
    assert not any(block._forward_hooks for block in unet.down_blocks)


def test_hooks_are_removed_after_an_exception_and_bad_features_are_refused():
    unet = TwoBlocks()
    with pytest.raises(PanobenchError, match="does not fit"), inject_features(unet, [torch.zeros(1, 2, 1, 1)] * 2):
        unet.down_blocks[0](torch.zeros(4, 1, 1, 1))
    assert not any(block._forward_hooks for block in unet.down_blocks)
    with pytest.raises(PanobenchError, match="3 features for 2"), inject_features(unet, [torch.zeros(1)] * 3):
        pass
