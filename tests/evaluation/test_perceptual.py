"""LPIPS against the lpips package, and where its weights come from."""

from pathlib import Path

import lpips
import numpy as np
import pytest
import torch

from core.errors import PanobenchError
from evaluation.arrays import Walk
from evaluation.features import extract_features
from evaluation.judge import Judge
from evaluation.metrics import create_metrics
from evaluation.networks import Networks
from evaluation.perceptual import JudgeLpips, load_lpips
from evaluation.views import ViewSet
from evaluation.weights import find_weights
from tests.evaluation.worlds import FPS, broken_seam, still, turning


@pytest.fixture(scope="module")
def original(network_weights: dict[str, Path]) -> lpips.LPIPS:
    """The package's own network with the same random AlexNet."""
    model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(network_weights["lpips"])
    with torch.no_grad():
        for name, parameter in model.net.named_parameters():
            parameter.copy_(state["features." + name.split(".", 1)[1]])
    return model


def test_the_distance_is_that_of_the_package(original: lpips.LPIPS, network_weights: dict[str, Path]):
    a, b = torch.rand(2, 20, 3, 64, 64, generator=torch.Generator().manual_seed(0))  # more than one batch
    network = load_lpips(network_weights["lpips"])
    found = network.distance(network.activations(a), network.activations(b))
    with torch.no_grad():
        expected = original(a, b, normalize=True).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert float(expected.min()) > 0


def test_distances_of_a_video_are_those_of_its_views(original: lpips.LPIPS, network_weights: dict[str, Path]):
    """Consecutive frames and the true video."""
    video, truth = turning(6.0), turning(6.0, seed=1)
    views = ViewSet("cube6", 90, 64)
    networks = Networks(lpips=load_lpips(network_weights["lpips"]))
    features = extract_features(video, FPS, {"view_lpips", "paired_lpips"}, views, networks, truth=truth)
    mine, true = (views.extract(torch.from_numpy(x).permute(0, 3, 1, 2) / 255) for x in (video, truth))
    with torch.no_grad():
        steps = original(mine[:-1].flatten(0, 1), mine[1:].flatten(0, 1), normalize=True).reshape(5, 6)
        pairs = original(mine.flatten(0, 1), true.flatten(0, 1), normalize=True).reshape(6, 6)
    np.testing.assert_allclose(features.arrays["view_lpips"], steps, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(features.arrays["paired_lpips"], pairs, rtol=1e-4, atol=1e-6)


def test_the_judges_distance_is_zero_for_the_same_picture_and_grows_with_noise(judge: Judge):
    network = JudgeLpips(judge)
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    values = []
    for strength in (0.0, 0.02, 0.1, 0.4):
        noisy = (picture + strength * noise).clamp(0, 1)
        values.append(float(network.distance(network.activations(picture), network.activations(noisy))))
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] > 3 * values[1]


def test_the_judge_looks_once_whether_or_not_its_activations_are_wanted(judge: Judge):
    views = ViewSet("cube6", 90, 32)
    plain = extract_features(turning(2.0), FPS, {"views"}, views, Networks(judge))
    calls = []
    hook = judge.model.visual.register_forward_hook(lambda *_: calls.append(1))
    both = extract_features(
        turning(2.0), FPS, {"views", "view_lpips_judge"}, views, Networks(judge, judge_lpips=JudgeLpips(judge))
    )
    hook.remove()
    assert len(calls) == 6  # once per frame, all its views at once
    np.testing.assert_array_equal(plain.view_embeddings, both.view_embeddings)


def test_where_a_video_is_cut_changes_nothing(judge: Judge, network_weights: dict[str, Path]):
    """One walk through three stretches, each of which begins with the last frame of the one before."""
    video, truth = turning(4.0), turning(4.0, seed=1)
    views = ViewSet("cube6", 90, 32)
    networks = Networks(judge, JudgeLpips(judge), load_lpips(network_weights["lpips"]))
    needs = {"views", "view_lpips", "view_lpips_judge", "paired_lpips_judge"}
    whole = extract_features(video, FPS, needs, views, networks, truth=truth)
    walk = Walk(needs, views, networks)
    parts = []
    for start, end, seen in ((0, 2, 0), (1, 5, 1), (4, 6, 1)):
        true = truth[start:end]
        made = walk.take(video[start:end], true, seen)
        parts.append(
            extract_features(video[start:end], FPS, needs, views, networks, truth=true, seen=seen, arrays=made)
        )
        alone = extract_features(video[start:end], FPS, needs, views, networks, truth=true, seen=seen)
        for name, array in alone.arrays.items():
            np.testing.assert_array_equal(array, parts[-1].arrays[name])
        np.testing.assert_array_equal(alone.view_embeddings, parts[-1].view_embeddings)
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(np.concatenate([part.arrays[name] for part in parts]), array)
    joined = np.concatenate([part.new(part.view_embeddings) for part in parts])
    np.testing.assert_array_equal(joined, whole.view_embeddings)


def test_weights_come_from_the_path_then_the_cache_then_an_error(
    network_weights: dict[str, Path], tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = network_weights["lpips"]
    with pytest.raises(PanobenchError, match=r"get torchvision's .*, and put it into .*checkpoints, or name its path"):
        find_weights("lpips", {})
    cached = tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(path.read_bytes())
    assert find_weights("lpips", {}) == cached
    assert find_weights("lpips", {"lpips": str(path)}) == path
    with pytest.raises(PanobenchError, match=r"none.pth: no such file"):
        find_weights("lpips", {"lpips": "none.pth"})  # never the cache instead


def test_a_file_of_something_else_is_one_clear_line(tmp_path: Path):
    for content in (b"", b"not a checkpoint"):
        (tmp_path / "odd.pth").write_bytes(content)
        with pytest.raises(PanobenchError, match=r"odd.pth: not torchvision's weights of AlexNet"):
            load_lpips(tmp_path / "odd.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(PanobenchError, match=r"odd.pth: not torchvision's weights of AlexNet"):
        load_lpips(tmp_path / "odd.pth")


def test_the_seams_strip_is_worse_than_the_others_where_there_is_a_seam(network_weights: dict[str, Path]):
    networks = Networks(lpips=load_lpips(network_weights["lpips"]))
    metric = create_metrics({"seam_lpips": {}})[0]
    values = []
    for strength in (0.0, 40.0, 120.0):
        features = extract_features(broken_seam(still(frames=2), strength), FPS, metric.needs, None, networks)
        assert features.arrays["strip_lpips"].shape == (2, 16)
        values.append(metric.measure(features))
    assert values == sorted(values)
    assert values[-1] > 5 * abs(values[0])
