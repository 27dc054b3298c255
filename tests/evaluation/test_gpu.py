"""Networks of the metrics on a GPU, and whole scores with them, against the CPU."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from evaluation.cache import FeatureCache
from evaluation.metrics import METRICS
from evaluation.networks import load_networks
from evaluation.run import Request, run
from evaluation.video_network import load_video_network
from tests.evaluation.files import write_frames
from tests.evaluation.networks import write_i3d
from tests.evaluation.worlds import turning

pytestmark = pytest.mark.gpu

JUDGE = Path(__file__).parents[2] / "assets/nano/judge"
NEAR = {"atol": 1e-4, "rtol": 1e-4}  # about the numbers of a unit vector, or of activations of norm 1


def test_every_network_gives_the_cpus_features_on_the_cpu(network_weights, tmp_path, device):
    """Float32 in full: scores must not depend on the machine."""
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    clips = torch.rand(2, 16, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    roles, weights = {"judge", "judge_lpips", "lpips", "inception", "faed", "video"}, network_weights
    i3d = write_i3d(tmp_path / "i3d_torchscript.pt")
    features: list[dict[str, torch.Tensor]] = []
    for where in ("cpu", str(device)):
        networks = load_networks(roles, JUDGE, weights, where)
        assert networks.judge.device.type == torch.device(where).type
        found = {
            "judge": networks.judge.encode_image(pictures),
            "judge, text": networks.judge.encode_text(["a red ball on a green meadow", "the sea"]),
            "inception": networks.inception.features(pictures),
            "faed": networks.faed.features(torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(2))),
            "video": networks.video.features(clips[:, : networks.video.frames]),
            "i3d": load_video_network(i3d, where).features(clips),
        }
        for name, network in {"lpips": networks.lpips, "judge_lpips": networks.judge_lpips}.items():
            looks = network.activations(pictures)
            found |= {f"{name}, {i}": layer for i, layer in enumerate(looks)}
            found[name] = network.distance(looks, [layer.flip(0) for layer in looks])
        features.append(found)
    for name, expected in features[0].items():
        assert features[1][name].device.type == "cpu", name
        torch.testing.assert_close(features[1][name], expected, **NEAR, msg=lambda text, name=name: f"{name}: {text}")


def test_all_scores_are_the_cpus(network_weights, tmp_path, device):
    """Every metric on folders of frames, in the digits that tables show; what one device made serves no other."""
    names = ("dunes", "meadow")
    for seed, name in enumerate(names):
        for part, first in (("mine", 0), ("reference", 10)):
            write_frames(tmp_path / part / name, turning(2.0, frames=4, height=64, seed=first + seed))
    (tmp_path / "prompts.csv").write_text("video,prompt\n" + "".join(f"{name},a {name} behind us\n" for name in names))
    request = Request(
        metrics={name: {} for name in METRICS.names()},
        prompts=tmp_path / "prompts.csv",
        reference=tmp_path / "reference",
        paired=tmp_path / "mine",
        judge=JUDGE,
        weights={role: str(path) for role, path in network_weights.items()},
        fps=8.0,
        bootstrap=10,
        cache=FeatureCache(tmp_path / "cache"),
        say=lambda line: None,
    )
    tables = []
    for where in ("cpu", str(device)):
        outcome = run(tmp_path / "mine", replace(request, device=where), tmp_path / where)
        assert outcome is not None
        assert outcome.count == len(names)
        tables.append(pd.read_parquet(tmp_path / where / "scores.parquet"))
    here, there = (table.sort_values(["metric", "video_id"]) for table in tables)
    assert len(here) > 30
    assert there.metric.tolist() == here.metric.tolist()
    apart = np.abs(there.value.to_numpy() - here.value.to_numpy()) / np.maximum(1, np.abs(here.value.to_numpy()))
    worst = int(apart.argmax())
    assert apart[worst] < 1e-3, (here.metric.iloc[worst], here.value.iloc[worst], there.value.iloc[worst])
