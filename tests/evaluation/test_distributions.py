"""KID, Frechet distances and their networks against clean-fid, torchmetrics and the published definitions."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.fid import kernel_distance
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from scipy import linalg
from torch.nn.functional import pad
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from core.errors import PanobenchError
from core.sphere import erp_to_cubemap
from evaluation.autoencoder import PanoramaEncoder, load_autoencoder
from evaluation.cache import CachedWalk, FeatureCache
from evaluation.features import extract_features
from evaluation.inception import load_inception
from evaluation.metrics import create_metrics
from evaluation.metrics.frechet import frechet_distance
from evaluation.networks import Networks, load_networks
from evaluation.sets import score_set
from evaluation.video_network import load_video_network
from evaluation.views import ViewSet
from tests.evaluation.networks import write_i3d, write_videomae
from tests.evaluation.worlds import FPS, turning

VIEWS = ViewSet("cube6", 90, 32)
ALL = {"inception", "cube_inception", "latitude_features", "view_clips"}


@pytest.fixture(scope="module")
def networks(network_weights: dict[str, Path]) -> Networks:
    return load_networks({"inception", "faed", "video"}, None, {k: str(v) for k, v in network_weights.items()})


def pixels(video: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255


# --- distances -------------------------------------------------------------------------------------------------------


def test_kid_of_flat_pictures_is_clean_fids_and_torchmetrics():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 1, 64)), rng.normal(0.3, 1.2, size=(40, 1, 64))
    found = create_metrics({"kid": {}})[0].compare(a, b)
    assert found == pytest.approx(kernel_distance(a[:, 0], b[:, 0], num_subsets=1), rel=1e-9)
    # A subset of clean-fid is the whole set here; torchmetrics' estimate takes the features themselves.
    assert found == pytest.approx(float(poly_mmd(torch.tensor(a[:, 0]), torch.tensor(b[:, 0]))), rel=1e-6)


@pytest.mark.parametrize("sizes", [(300, 200), (20, 30), (300, 12)], ids=["more rows", "fewer rows", "mixed"])
def test_frechet_distance_is_torchmetrics_and_the_matrix_root(sizes: tuple[int, int]):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(sizes[0], 40)) @ np.diag(np.linspace(1, 2, 40)), rng.normal(0.5, 1, size=(sizes[1], 40))
    means, covariances = [x.mean(axis=0) for x in (a, b)], [np.cov(x, rowvar=False) for x in (a, b)]
    theirs = _compute_fid(*(torch.tensor(x) for pair in zip(means, covariances, strict=True) for x in pair))
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-5)
    if min(sizes) > 40:  # the root of a singular product is not to be trusted
        root = linalg.sqrtm(covariances[0] @ covariances[1]).real
        exact = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_frechet_distance_of_known_gaussians():
    """Two of the same shape, d apart, are d^2 apart; of the same mean, spreads s and t, D (s - t)^2."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5000, 6))
    assert frechet_distance(x, x + np.array([3, 0, 0, 0, 0, 0])) == pytest.approx(9, rel=1e-9)
    assert frechet_distance(x - x.mean(axis=0), 2 * (x - x.mean(axis=0))) == pytest.approx(x.var(0, ddof=1).sum())


def test_omnifid_is_a_third_up_a_third_down_and_a_third_for_the_sides():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(12, 6, 2, 5)), rng.normal(0.4, 1.3, size=(15, 6, 2, 5))
    fid = [frechet_distance(a[:, face].reshape(-1, 5), b[:, face].reshape(-1, 5)) for face in range(6)]
    metric = create_metrics({"omnifid": {"least": 4}})[0]
    assert metric.compare(a, b) == pytest.approx((np.mean(fid[:4]) + fid[4] + fid[5]) / 3)


def test_small_sets_have_no_frechet_distance_and_their_bias_is_in_the_floor():
    rng = np.random.default_rng(4)
    few, reference = rng.normal(size=(20, 6, 1, 30)), rng.normal(size=(40, 6, 1, 30))
    assert "below 100 of each" in score_set(create_metrics({"omnifid": {}})[0], few, list("abcdefghijklmnopqrst"), few)
    metric = create_metrics({"omnifid": {"least": 10, "resamples": 20}})[0]
    found = score_set(metric, few, list("abcdefghijklmnopqrst"), reference)
    assert found.value > 5  # of the same distribution, and yet far from 0
    assert found.floor[1] > found.value  # real against real, of 20 each, says so


# --- networks --------------------------------------------------------------------------------------------------------


def test_inception_features_of_a_picture_are_clean_fids(network_weights: dict[str, Path]):
    """The same file in both, from the picture on: clean-fid resizes with Pillow, this project with torch."""
    path = network_weights["inception"]
    picture = turning(0.0, frames=1)[0][:, :64]
    resized = build_resizer("clean")(picture)
    original = InceptionV3W(str(path.parent), download=False)
    expected = original(torch.tensor(resized).permute(2, 0, 1)[None]).detach()
    found = load_inception(path).features(pixels(picture[None]))
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.002)
    assert float(expected.std()) > 0.02


def test_the_arrays_are_the_networks_features_of_every_fourth_frame(networks: Networks):
    video = turning(5.0, frames=6)
    arrays = extract_features(video, FPS, ALL, VIEWS, networks).arrays
    for row, frame in enumerate((0, 4)):
        erp = pixels(video[frame : frame + 1])
        views = VIEWS.extract(erp)[0]
        np.testing.assert_allclose(arrays["inception"][row], networks.inception.features(views), rtol=1e-4, atol=1e-5)
        faces = networks.inception.features(erp_to_cubemap(erp, 41)[0])
        np.testing.assert_allclose(arrays["cube_inception"][row], faces, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(arrays["latitude_features"][row], networks.faed.features(erp)[0], rtol=1e-4)
    assert arrays["view_clips"].shape == (1, 6, 16)


def test_the_clip_is_the_first_frames_of_each_view(networks: Networks, tmp_path: Path):
    video = turning(5.0, frames=6)
    views = VIEWS.extract(pixels(video[:4]))
    clips = torch.nn.functional.interpolate(
        views.flatten(0, 1), (224, 224), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)
    clips = clips.unflatten(0, (4, 6)).transpose(0, 1)
    found = extract_features(video, FPS, {"view_clips"}, VIEWS, networks).arrays["view_clips"][0]
    np.testing.assert_allclose(found, networks.video.features(clips), rtol=1e-3, atol=1e-5)
    # VideoMAE as transformers itself runs it, with its own normalisation.
    from transformers import VideoMAEModel

    folder = write_videomae(tmp_path / "again")
    model = VideoMAEModel.from_pretrained(folder).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        tokens = model((clips - mean[:, None, None]) / std[:, None, None]).last_hidden_state
    torch.testing.assert_close(networks.video.features(clips), tokens.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_i3d_gets_what_stylegan_v_gives_it(tmp_path: Path):
    network = load_video_network(write_i3d(tmp_path / "i3d_torchscript.pt"))
    clips = torch.rand(2, 16, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    script = torch.jit.load(tmp_path / "i3d_torchscript.pt")
    with torch.no_grad():
        expected = script(2 * clips.transpose(1, 2) - 1, rescale=False, resize=False, return_features=True)
    torch.testing.assert_close(network.features(clips), expected, rtol=1e-4, atol=1e-5)
    assert (network.frames, network.name) == (16, "i3d-kinetics400")


def test_the_autoencoder_goes_around_the_sphere_and_weighs_by_latitude(network_weights: dict[str, Path]):
    network = load_autoencoder(network_weights["faed"])
    erp = pixels(turning(0.0, frames=1))
    features = network.features(erp)
    assert features.shape == (1, 128 * 2)
    turned = network.features(torch.roll(erp, 32, dims=-1))
    torch.testing.assert_close(turned, features, rtol=1e-3, atol=1e-6)
    tall = network.features(torch.rand(1, 3, 128, 256)).unflatten(1, (128, 4))
    assert float(tall[..., 0].abs().max()) < 1e-6  # cos of the pole itself, as published
    assert float(tall[..., 1].abs().max()) > 1e-3
    with pytest.raises(PanobenchError, match="no multiple of 32"):
        network.features(torch.rand(1, 3, 40, 80))


def test_the_encoder_is_a_stack_of_wrapped_convolutions():
    """Layer by layer in torch's own functions: 9 x 9, then twice a residual block and a halving."""
    encoder = PanoramaEncoder().eval()
    x = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))

    def wrapped(layer: torch.nn.Module, y: torch.Tensor, reach: int) -> torch.Tensor:
        y = torch.cat([y[..., -reach:], y, y[..., :reach]], dim=-1)
        return layer.conv2d(pad(y, (0, 0, reach, reach)))

    with torch.no_grad():
        y = wrapped(encoder.downconv1_rgb, x, 4)
        block = encoder.downres1_rgb
        inner = block.batchnorm1(wrapped(block.conv1, y, 4)).relu()
        y = y + block.batchnorm2(wrapped(block.conv2, inner, 4))
        down = encoder.downconv2_rgb
        y = down.batchnorm1(wrapped(down.conv1, y, 1)).relu()
        own = encoder.downconv2_rgb(encoder.downres1_rgb(encoder.downconv1_rgb(x)))
        torch.testing.assert_close(own, y)
        assert encoder(x).shape == (1, 128, 1, 2)

    # The size of PanFusion's encoder, counted from its layers: k^2 in out + out, and two per channel of a norm.
    def conv(k: int, i: int, o: int) -> int:
        return k * k * i * o + o

    down_sizes = [(32, 64), (64, 128), (128, 128), (128, 128), (128, 128)]
    blocks = [(32, 9), (64, 7), (128, 5), (128, 3), (128, 3)]
    expected = conv(9, 3, 32) + conv(3, 128, 128) + sum(conv(4, i, o) + 2 * o for i, o in down_sizes)
    expected += sum(2 * (conv(k, c, c) + 2 * c) for c, k in blocks)
    assert sum(p.numel() for p in encoder.parameters()) == expected


@pytest.mark.parametrize("role", ["inception", "faed", "video"])
def test_files_of_something_else_are_one_clear_line(role: str, tmp_path: Path):
    (tmp_path / "odd.pt").write_bytes(b"not a network")
    with pytest.raises(PanobenchError, match=r"odd.pt: n(ot|either) the ") as caught:
        load_networks({role}, None, {role: str(tmp_path / "odd.pt")})
    assert "\n" not in str(caught.value)


def test_kept_arrays_are_the_same_wherever_a_video_is_cut(networks: Networks, tmp_path: Path):
    video = turning(5.0, frames=6)
    whole = extract_features(video, FPS, ALL, VIEWS, networks).arrays
    store = FeatureCache(tmp_path)
    for number in range(2):  # made, then read
        walk = CachedWalk(ALL, VIEWS, networks, store, {"video": "a"}, 6)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in ALL}
        for start, end, seen in ((0, 3, 0), (2, 5, 1), (4, 6, 1)):
            for name, array in walk.take(video[start:end], None, seen).items():
                parts[name].append(array)
        if number:
            assert not walk._makers  # no network ran
        walk.keep()
        for name, array in whole.items():
            np.testing.assert_array_equal(np.concatenate(parts[name]), array)


def test_a_video_shorter_than_the_networks_clip_is_refused_not_failed(networks: Networks):
    metric = create_metrics({"view_fvd": {"least": 4}})[0]
    kept = metric.describe(extract_features(turning(2.0, frames=3), FPS, metric.needs, VIEWS, networks))
    line = score_set(metric, np.stack([kept] * 4), list("abcd"), np.stack([kept] * 4))
    assert line == "no number: the videos are shorter than the clips that its network looks at"


def test_distances_of_real_clips_grow_with_their_damage(networks: Networks):
    """Ten clips against ten others: the same kind is within the floor, darkened ones are not; every network."""

    def described(metric, seeds, factor: float) -> np.ndarray:
        clips = [(turning(4.0, frames=4, height=32, seed=s) * factor).astype(np.uint8) for s in seeds]
        return np.stack([metric.describe(extract_features(c, FPS, metric.needs, VIEWS, networks)) for c in clips])

    for name in ("kid", "omnifid", "faed", "view_fvd"):
        metric = create_metrics({name: {"least": 8, "resamples": 20, "frames": 1}})[0]
        real = described(metric, range(10), 1.0)
        values = [score_set(metric, described(metric, range(50, 60), f), list("abcdefghij"), real) for f in (1, 0.5)]
        assert values[0].value < values[0].floor[1] + 2 * (values[0].high - values[0].value), name
        assert values[1].value > values[0].high, name
        assert math.isfinite(values[1].low)
