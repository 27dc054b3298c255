"""Networks in bfloat16: near float32, recorded, and never mixed with it."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from core.errors import PanobenchError
from evaluation.cache import FeatureCache
from evaluation.cli import score
from evaluation.comparison import check_comparable, compare, load_scored
from evaluation.judge import Judge, load_judge
from evaluation.paper import methods_section
from evaluation.perceptual import JudgeLpips, load_lpips
from evaluation.run import Request, run
from tests.evaluation.worlds import write_set

PROMPTS = {"dunes": "a desert", "sea": "the sea"}
ASKED = ("clip_alignment", "clip_consistency", "tlpips", "tlpips_judge", "flicker")
NANO = Path(__file__).parents[2] / "assets" / "nano" / "judge"


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("precision")
    write_set(root / "mine", list(PROMPTS))
    (root / "prompts.json").write_text(json.dumps(PROMPTS))
    return root


def request(videos: Path, judge_folder: Path, weights: dict[str, Path], **changes) -> Request:
    return Request(
        metrics=dict.fromkeys(changes.pop("metrics", ASKED)),
        prompts=videos / "prompts.json",
        judge=judge_folder,
        weights={"lpips": str(weights["lpips"])},
        bootstrap=200,
        say=lambda line: None,
        **changes,
    )


def settings(folder: Path) -> dict:
    return json.loads((folder / "settings.json").read_text())


def test_the_judge_in_bfloat16_says_nearly_the_same():
    """The trained judge of the nano profile, on textures from coarse to fine."""
    generator = torch.Generator().manual_seed(0)
    coarse = (torch.rand(1, 3, side, side, generator=generator) for side in (2, 4, 8, 16))
    pictures = torch.cat([torch.nn.functional.interpolate(x, (64, 64), mode="bilinear") for x in coarse])
    fine, rough = load_judge(NANO), load_judge(NANO, precision="bf16")
    prompts = ["a green meadow under a blue sky", "a desert at night"]
    for a, b in (
        (fine.encode_image(pictures), rough.encode_image(pictures)),
        (fine.encode_text(prompts), rough.encode_text(prompts)),
    ):
        assert b.dtype == torch.float32
        assert not torch.equal(a, b)
        torch.testing.assert_close(b.norm(dim=1), torch.ones(len(b)))
        assert float((a * b).sum(dim=1).min()) > 0.999


@pytest.mark.parametrize("kind", ["lpips", "judge"])
def test_distances_in_bfloat16_are_nearly_the_same(network_weights, kind):
    generator = torch.Generator().manual_seed(1)
    picture = torch.rand(3, 3, 64, 64, generator=generator)
    other = torch.rand(3, 3, 64, 64, generator=generator)
    if kind == "lpips":
        fine, rough = (load_lpips(network_weights["lpips"], precision=p) for p in ("fp32", "bf16"))
    else:
        fine, rough = (JudgeLpips(load_judge(NANO, precision=p)) for p in ("fp32", "bf16"))
    distances = [n.distance(n.activations(picture), n.activations(other)) for n in (fine, rough)]
    torch.testing.assert_close(distances[1], distances[0], rtol=0.02, atol=0)
    assert not torch.equal(*distances)
    same = rough.activations(picture)
    assert float(rough.distance(same, rough.activations(picture)).abs().max()) == 0


def test_each_precision_has_its_own_features_in_the_cache(videos, judge_folder, network_weights, tmp_path, monkeypatch):
    looks: list[int] = []
    look = Judge.encode_image
    monkeypatch.setattr(Judge, "encode_image", lambda self, views: looks.append(len(views)) or look(self, views))
    cache = FeatureCache(tmp_path / "cache")
    asked = {"metrics": ["clip_consistency"], "cache": cache}
    for out, precision, count in (("a", "fp32", 8), ("b", "bf16", 16), ("c", "fp32", 16), ("d", "bf16", 16)):
        run(
            videos / "mine",
            request(videos, judge_folder, network_weights, precision=precision, **asked),
            tmp_path / out,
        )
        assert len(looks) == count, out
    assert (tmp_path / "a/metrics.json").read_bytes() == (tmp_path / "c/metrics.json").read_bytes()
    assert (tmp_path / "b/metrics.json").read_bytes() == (tmp_path / "d/metrics.json").read_bytes()


def test_scores_are_near_and_say_how_they_were_counted(videos, judge_folder, network_weights, tmp_path):
    records = {}
    for precision in ("fp32", "bf16"):
        outcome = run(
            videos / "mine",
            request(videos, judge_folder, network_weights, precision=precision),
            tmp_path / precision,
            precision,
        )
        records[precision] = outcome.record["metrics"]
        assert settings(tmp_path / precision)["precision"] == precision
    for name in ASKED[:-1]:
        fine, rough = (records[precision][name]["mean"] for precision in ("fp32", "bf16"))
        assert rough != fine, name
        assert rough == pytest.approx(fine, rel=0.05, abs=0.01), name
    assert records["fp32"]["flicker"]["mean"] == records["bf16"]["flicker"]["mean"]  # asks no network

    with pytest.raises(PanobenchError, match=r"fp32 and bf16 do not compare: the networks' precision is fp32 for one"):
        check_comparable([load_scored(tmp_path / precision) for precision in ("fp32", "bf16")])


def test_the_methods_section_names_it(videos, judge_folder, network_weights, tmp_path):
    made = {"versions": {"panobench": "0"}, "commit": None, "dirty": False}
    texts = {}
    for precision in ("fp32", "bf16"):
        asked = request(videos, judge_folder, network_weights, metrics=["clip_alignment"], precision=precision)
        run(videos / "mine", asked, tmp_path / precision)
        scored = load_scored(tmp_path / precision)
        texts[precision] = " ".join(methods_section(compare([scored], 200, 0, 0.95), scored.settings, made))
    assert "The judge and LPIPS count in bfloat16." in texts["bf16"]
    assert "bfloat16" not in texts["fp32"]


def test_without_a_network_there_is_nothing_to_count_coarsely(videos, judge_folder, network_weights, tmp_path):
    asked = request(videos, judge_folder, network_weights, metrics=["flicker"], precision="bf16")
    run(videos / "mine", asked, tmp_path / "out")
    assert settings(tmp_path / "out")["precision"] == "fp32"


@pytest.mark.parametrize(
    ("option", "configured", "expected"), [([], "bf16", "bf16"), (["--precision", "fp32"], "bf16", "fp32")]
)
def test_the_option_goes_before_the_parameters(
    videos, judge_folder, tmp_path, monkeypatch, option, configured, expected
):
    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    changed = text.replace("scoring:\n", f"scoring:\n  precision: {configured}\n", 1)
    (tmp_path / "params.yaml").write_text(changed)
    monkeypatch.chdir(tmp_path)
    arguments = [
        videos / "mine",
        "--judge",
        judge_folder,
        "--metrics",
        "clip_consistency",
        "--out",
        "out",
        "--no-cache",
    ]
    done = CliRunner().invoke(score, [*map(str, arguments), *option], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert settings(tmp_path / "out")["precision"] == expected
