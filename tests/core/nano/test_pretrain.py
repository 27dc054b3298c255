"""The training of the nano base: resuming, the judge's folder, and the whole of it at smoke size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError
from core.nano import stack
from core.nano.cli import nano
from core.nano.pretrain.loop import Plan, fit
from core.nano.pretrain.networks import normalise_latents
from core.nano.pretrain.run import Pretraining
from core.nano.pretrain.settings import Settings
from core.nano.pretrain.world import pictures


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Assets made by `panobench nano pretrain` at smoke size."""
    folder = tmp_path_factory.mktemp("pretrain")
    options = {"work": folder / "work", "assets": folder / "assets", "workers": 1}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    result = CliRunner().invoke(nano, ["pretrain", "--smoke", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "assets"


def test_everything_is_shipped_and_loads(smoke: Path) -> None:
    """The base is a folder that diffusers' own pipeline opens and runs."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        smoke / "base", torch_dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red ball", height=64, width=128, num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 64, 128, 3)
    assert {path.name for path in smoke.glob("*.png")} == {"clips.png", "curves.png", "samples.png"}
    assert "| U-Net | 2 | 2 |" in (smoke / "README.md").read_text()
    assert set(pd.read_csv(smoke / "curves/unet.csv").columns) == {"run", "step", "loss", "learning_rate"}


@pytest.mark.slow
def test_training_goes_on_from_shipped_weights(smoke: Path, tmp_path: Path) -> None:
    """Judge, encoder and words stay to the bit; U-Net and motion modules move on; the record tells of both runs."""
    assets = tmp_path / "assets"
    shutil.copytree(smoke, assets)
    arguments = ["--smoke", "--going-on", "--work", str(tmp_path / "work"), "--assets", str(assets), "--workers", "1"]
    result = CliRunner().invoke(nano, ["pretrain", *arguments, "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0
    for kept in ("judge/open_clip_model.safetensors", "base/text_encoder/model.safetensors"):
        assert (assets / kept).read_bytes() == (smoke / kept).read_bytes()
    before, after = (load_file(folder / "base/vae/diffusion_pytorch_model.safetensors") for folder in (smoke, assets))
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {
        "decoder",
        "post_quant_conv",
    }
    for moved in ("base/unet", "motion_adapter"):
        before, after = (load_file(f / moved / "diffusion_pytorch_model.safetensors") for f in (smoke, assets))
        change = max(float((after[name] - before[name]).abs().max()) for name in before)
        assert 0 < change < 0.1
    assert [len(runs) for runs in json.loads((assets / "training.json").read_text()).values()] == [1, 2, 1, 2, 2, 2]
    assert "| U-Net, run 2 | 2 | 2 | cpu |" in (assets / "README.md").read_text()
    assert set(pd.read_csv(assets / "curves/unet.csv").run) == {1, 2}
    with pytest.raises(PanobenchError, match="from the beginning"):
        Pretraining(Settings.read(Path("assets/nano/smoke.yaml")), smoke.parent / "work").go_on_from(assets)


def test_text_encoder_is_the_judges_text_tower(smoke: Path) -> None:
    """Same hidden state at the end-of-text token, through each library's own tokenizer and forward pass."""
    judge = stack.build_judge(smoke / "judge/bpe_simple_vocab.txt.gz")
    encoder = stack.text_encoder_of(judge)
    tokenizer = CLIPTokenizer.from_pretrained(smoke / "base/tokenizer")
    for text in ("a white hot air balloon over a snowy plain, at dawn", "an panoramic view, 3d render!", ""):
        tokens = stack.bpe_tokenizer(smoke / "judge/bpe_simple_vocab.txt.gz")([text])
        theirs = tokenizer(text, return_tensors="pt").input_ids
        length = theirs.shape[1]
        assert torch.equal(tokens[:, :length], theirs)
        with torch.no_grad():
            pooled = encoder(theirs).last_hidden_state[:, -1] @ judge.text_projection
            assert torch.allclose(pooled, judge.encode_text(tokens), atol=1e-5)
    assert isinstance(encoder, CLIPTextModel)


def test_a_reduced_vocabulary_embeds_captions_as_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    texts = ["a red ball on calm water, at dawn", "sand dunes in the desert, cloudy sky"]
    stack.write_bpe(tmp_path / "whole.gz")
    whole = stack.build_judge(tmp_path / "whole.gz").eval()
    rows = stack.reduce_bpe(tmp_path / "whole.gz", texts, tmp_path / "cut.gz")
    cut = stack.with_vocabulary(whole, tmp_path / "cut.gz", rows)
    assert len(rows) < 600
    with torch.no_grad():
        before = whole.encode_text(stack.bpe_tokenizer(tmp_path / "whole.gz")(texts))
        after = cut.encode_text(stack.bpe_tokenizer(tmp_path / "cut.gz")(texts))
        assert torch.equal(before, after)
        # Other words still have tokens.
        assert cut.encode_text(stack.bpe_tokenizer(tmp_path / "cut.gz")(["an unheard-of volcano"])).isfinite().all()


def test_colors_survive_an_untrained_vae() -> None:
    """The initialisation keeps flat colours; GroupNorm would make all of them alike."""
    torch.manual_seed(0)
    ours, default = stack.build_vae(), AutoencoderKL(**stack.VAE_CONFIG)
    colors = torch.tensor([[0.8, -0.6, -0.6], [-0.5, 0.4, 0.9], [0.0, 0.0, 0.0], [0.9, 0.9, 0.9]])
    flat = colors[:, :, None, None].expand(-1, -1, 32, 64)

    def likeness(vae: AutoencoderKL) -> float:
        with torch.no_grad():
            back = vae.decode(vae.encode(flat).latent_dist.mean).sample[..., 8:-8, 8:-8].mean((2, 3))
        return float(torch.corrcoef(torch.stack([back.flatten(), colors.flatten()]))[0, 1])

    assert likeness(ours) > 0.95
    assert likeness(default) < 0.8


def test_normalised_latents_decode_to_the_same_picture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stills = pictures(tmp_path, "stills", "train", 8, (64, 128), seed=1, workers=1)
    vae = stack.build_vae()
    x = torch.from_numpy(stills.images[:, 0].astype(np.float32)).movedim(-1, 1) / 127.5 - 1
    with torch.no_grad():
        before = vae.decode(vae.encode(x).latent_dist.mean).sample
        normalise_latents(vae, stills)
        latents = vae.encode(x).latent_dist.mean
        after = vae.decode(latents).sample
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)


def test_pictures_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    one = pictures(tmp_path / "a", "views", "train", 20, (16, 16), seed=1, workers=1)
    two = pictures(tmp_path / "b", "views", "train", 20, (16, 16), seed=1, workers=2)
    assert np.array_equal(one.images, two.images)
    assert one.captions == two.captions


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.nano.pretrain.loop.CHECKPOINT_SECONDS", 0.0)
    plan = Plan(steps=12, batch=4, learning_rate=0.1, ema=0.9, warmup=2)

    def run(folder: Path, die_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 1)
        calls = 0

        def loss(generator: torch.Generator) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == die_at:
                raise KeyboardInterrupt
            x = torch.randn(4, 3, generator=generator)
            return (module(x) - x.sum(1, keepdim=True)).pow(2).mean()

        fit("linear", module, loss, plan, folder, seed=3)
        return module.weight.detach()

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 7)
    assert torch.equal(run(tmp_path / "killed", None), whole)
    assert (tmp_path / "whole/linear.csv").read_text() == (tmp_path / "killed/linear.csv").read_text()


def test_bad_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(Path("assets/nano/smoke.yaml").read_text().replace("ema", "emma", 1))
    with pytest.raises(PanobenchError, match=r"bad\.yaml.*emma"):
        Settings.read(tmp_path / "bad.yaml")
