"""RAFT and PanoFlow: weights under any of their names, and refusal of what is no such network."""

import numpy as np
import pytest
import torch

from core.errors import PanobenchError
from core.flow import estimate_flow, make_estimator
from core.flow.raft import build_raft, renamed

# One name of each kind as the original checkpoints have them -> torchvision's.
ORIGINAL = {
    "module.fnet.conv1.weight": "feature_encoder.convnormrelu.0.weight",
    "module.cnet.norm1.running_mean": "context_encoder.convnormrelu.1.running_mean",
    "module.fnet.layer2.0.conv2.bias": "feature_encoder.layer2.0.convnormrelu2.0.bias",
    "module.cnet.layer2.0.norm1.weight": "context_encoder.layer2.0.convnormrelu1.1.weight",
    "module.cnet.layer2.0.norm3.weight": "context_encoder.layer2.0.downsample.1.weight",
    "module.cnet.layer3.0.downsample.0.weight": "context_encoder.layer3.0.downsample.0.weight",
    "module.fnet.conv2.weight": "feature_encoder.conv.weight",
    "module.update_block.encoder.convc1.weight": "update_block.motion_encoder.convcorr1.0.weight",
    "module.update_block.encoder.convf2.bias": "update_block.motion_encoder.convflow2.0.bias",
    "module.update_block.encoder.conv.weight": "update_block.motion_encoder.conv.0.weight",
    "module.update_block.gru.convz1.weight": "update_block.recurrent_block.convgru1.convz.weight",
    "module.update_block.gru.convq2.bias": "update_block.recurrent_block.convgru2.convq.bias",
    "module.update_block.flow_head.conv1.weight": "update_block.flow_head.conv1.weight",
    "module.update_block.mask.0.weight": "mask_predictor.convrelu.0.weight",
    "module.update_block.mask.2.bias": "mask_predictor.conv.bias",
    "_model.fnet.conv_offset.weight": "feature_encoder.convnormrelu.0.conv_offset.weight",
    "_model.cnet.dconv.bias": "context_encoder.convnormrelu.0.dconv.bias",
}


def test_original_names_are_those_of_the_network():
    assert list(renamed(ORIGINAL)) == list(ORIGINAL.values())
    names = set(build_raft("raft").state_dict()) | set(build_raft("panoflow").state_dict())
    assert set(ORIGINAL.values()) <= names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["raft", "panoflow"])
def test_a_network_estimates_cyclically_from_its_file(kind, tmp_path):
    torch.manual_seed(0)
    torch.save(build_raft(kind).state_dict(), tmp_path / "w.pth")
    estimator = make_estimator(kind, tmp_path / "w.pth")
    clip = np.random.default_rng(0).integers(0, 255, (1, 128, 256, 3), dtype=np.uint8)
    clip = np.concatenate([clip, np.roll(clip, 2, 2)])
    flow = estimate_flow(clip, estimator, cyclic=kind == "panoflow")
    assert flow.shape == (1, 2, 128, 256)
    if kind == "raft":
        return
    turned = estimate_flow(np.roll(clip, 128, 2), estimator)
    # OpenCV reads pictures at 32nds of a pixel, not at the same ones in a turned picture.
    np.testing.assert_allclose(turned, np.roll(flow, 128, 3), atol=0.02)
    with pytest.raises(PanobenchError, match="at least 128 rows"):
        estimate_flow(clip[:, :64, :128], estimator)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["raft", "panoflow"])
def test_a_gpu_estimates_the_same_flow(kind, tmp_path, device):
    torch.manual_seed(0)
    torch.save(build_raft(kind).state_dict(), tmp_path / "w.pth")
    a = np.random.default_rng(0).integers(0, 255, (128, 136, 3), dtype=np.uint8)
    pair = a, np.roll(a, 2, 1)
    one, two = (make_estimator(kind, tmp_path / "w.pth", where).flow(*pair) for where in ("cpu", device))
    assert two.dtype == np.float32
    assert np.abs(one).max() > 0.01
    # Twelve rounds, each of which looks up what the one before found: rounding grows tenfold, to 1e-5 and more.
    np.testing.assert_allclose(two, one, atol=3e-4 * np.abs(one).max())


def test_what_is_no_such_network_is_refused(tmp_path):
    with pytest.raises(PanobenchError, match=r"needs its weights: set flow\.weights to torchvision"):
        make_estimator("raft")
    with pytest.raises(PanobenchError, match=r"none\.pth does not exist; put PanoFlow-RAFT-wo-CFE.pth"):
        make_estimator("panoflow", "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(PanobenchError, match="not a readable checkpoint"):
        make_estimator("raft", tmp_path / "text.pth")
    torch.save(build_raft("raft").state_dict(), tmp_path / "raft.pth")
    with pytest.raises(PanobenchError, match=r"raft.pth is no 'panoflow' network: \d+ tensors are missing"):
        make_estimator("panoflow", tmp_path / "raft.pth")
