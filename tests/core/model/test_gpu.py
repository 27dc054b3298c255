"""Sampling on a GPU against sampling on the CPU: the same noise, conditions and weights."""

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from core.model.base import load_base
from core.model.enhance import roll_columns
from core.model.pipeline import Pipeline360
from core.model.presets import PRESETS
from core.motion import synthetic_flow
from core.params_schema import AdapterTraining
from core.train.adapter import build_adapter
from tests.core.model.test_pipeline import EVERY_STEP, MORE_SCHEDULERS, SCHEDULERS, pipeline, relative, sample
from tests.tiny import FRAMES, HEIGHT, WIDTH

pytestmark = pytest.mark.gpu

NANO = Path(__file__).parents[3] / "assets/nano"
SIZE = {"frames": 4, "height": 64, "width": 128}
METHOD_D = {"rotation": True, "circular_padding": True, "guidance_scale": 3.5, "steps": 4}


def nano(device: torch.device | str, dtype: torch.dtype = torch.float32) -> Pipeline360:
    """Method D over the shipped weights, with an adapter that is not trained: a fifth of its features is enough."""
    base = load_base(NANO / "base", NANO / "motion_adapter", dtype, device)
    settings = AdapterTraining(kind="adapter", steps=1, batch=1, learning_rate=1e-3, latitude_channels=True)
    pipe = Pipeline360.from_base(base, build_adapter(base, settings, 0).eval().to(device, dtype))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drift() -> torch.Tensor:
    """A condition of motion, (1,F,3,H,W)."""
    flow = torch.from_numpy(synthetic_flow("drift-forward", SIZE["frames"] + 1, SIZE["height"], SIZE["width"]).copy())
    return torch.cat([flow / 8, torch.zeros_like(flow[:, :1])], 1).clamp(-1, 1)[None]


def sample_nano(pipe: Pipeline360, prompt="a red ball on a green meadow, at noon", seeds=(1,), **options):
    options = {"output_type": "latent", "adapter_scale": 0.2, "condition": drift(), **SIZE, **METHOD_D} | options
    return pipe(prompt, seeds=list(seeds), **options).frames


@pytest.fixture(scope="module")
def on_cpu() -> Pipeline360:
    return nano("cpu")


@pytest.fixture(scope="module")
def expected(on_cpu) -> np.ndarray:
    return sample_nano(on_cpu, output_type="uint8")


def test_method_d_makes_the_cpus_video(on_cpu, expected, device):
    """Four guided steps pass an error on, and guidance enlarges it: 1e-5 of one network becomes 1e-3 at most."""
    pipe = nano(device)
    assert {part.device.type for part in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.adapter)} == {device.type}
    latents = sample_nano(pipe)
    assert latents.device.type == device.type
    assert relative(latents.cpu(), sample_nano(on_cpu)) < 1e-3
    video = sample_nano(pipe, output_type="uint8")
    assert video.dtype == np.uint8
    apart = np.abs(video.astype(int) - expected)
    assert apart.max() <= 2, apart.max()  # levels of 255
    assert apart.mean() < 0.02
    assert np.abs(sample_nano(pipe, seeds=[2], output_type="uint8").astype(int) - expected).mean() > 5


@pytest.mark.parametrize(("precision", "levels"), [(torch.bfloat16, 4.0), (torch.float16, 0.6)])
def test_half_precision_stays_near(expected, device, precision, levels):
    """Mean distance in grey levels of 255: bfloat16 has 8 bits and float16 has 11; another seed is 40 away."""
    video = sample_nano(nano(device, precision), output_type="uint8")
    assert np.abs(video.astype(int) - expected).mean() < levels


def test_a_batch_is_its_samples_alone_and_an_exception_leaves_nothing_behind(device):
    """To the bit: every network sees one sample at a time, in the same shapes."""
    pipe = nano(device)
    prompts, seeds = ["a tower in a desert, at dusk", "a white balloon over a snowy plain"], [3, 1]
    together = sample_nano(pipe, prompts, seeds)

    def fail(step, latents):
        if step == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sample_nano(pipe, callback=fail)
    for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        assert torch.equal(together[i], sample_nano(pipe, prompt, [seed])[0])
    # Both in one pass: other kernels, and so other rounding.
    assert relative(sample_nano(pipe, prompts, seeds, batch_size=2), together) < 1e-3


def test_rolled_noise_and_condition_give_the_rolled_video(tiny_base, device):
    """The CPU keeps this to 1e-4. Convolutions by tiles round a place by where it lies in its tile, so ten times that.

    Without circular padding the two are 1e-2 apart and more.
    """
    pipe = pipeline(tiny_base, adapter=True).to(device)
    noise = torch.randn(1, 4, FRAMES, 8, 16, generator=torch.Generator().manual_seed(5))
    condition = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6)) * 2 - 1
    rolled = {"latents": roll_columns(noise, 8), "condition": roll_columns(condition, 32)}
    options = {"rotation": True, "circular_padding": True, "preset": replace(EVERY_STEP, theta_deg=180.0)}
    video = sample(pipe, latents=noise, condition=condition, **options)
    assert relative(sample(pipe, **rolled, **options), roll_columns(video, 32)) < 1e-3
    bare = sample(pipe, latents=noise, condition=condition)
    assert relative(sample(pipe, **rolled), roll_columns(bare, 32)) > 1e-2


@pytest.mark.parametrize("name", [*SCHEDULERS, *MORE_SCHEDULERS])
def test_any_scheduler_gives_the_cpus_latents(tiny_base, device, name):
    """Also those that draw noise at every step, which comes from the sample's own generator on the CPU."""
    options = {"steps": 4, "rotation": True, "circular_padding": True, "eta": 0.5, "output_type": "latent"}
    found = []
    for where in ("cpu", device):
        pipe = pipeline(tiny_base, adapter=True).to(where)
        pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
        found.append(sample(pipe, seeds=[4], **options).cpu())
    assert torch.isfinite(found[0]).all()
    assert relative(found[1], found[0]) < 1e-3


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_presets_give_the_cpus_latents(tiny_base, device, preset):
    """`released` has its own GroupNorm, and leaves the rotation in."""
    condition = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6)) * 2 - 1
    options = {"steps": 4, "rotation": True, "circular_padding": True, "preset": PRESETS[preset]}
    found = [
        sample(pipeline(tiny_base, adapter=True).to(where), condition=condition, output_type="latent", **options).cpu()
        for where in ("cpu", device)
    ]
    assert relative(found[1], found[0]) < 1e-3


def test_offloaded_networks_give_the_same_and_leave_the_gpu(tiny_base, device):
    if device.type != "cuda":
        pytest.skip("offloading is from a GPU")
    pipe = pipeline(tiny_base, adapter=True).to(device)
    options = {"rotation": True, "circular_padding": True, "output_type": "latent"}
    condition = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6))
    resident = sample(pipe, condition=condition, **options).cpu()
    pipe.enable_model_cpu_offload()
    assert relative(sample(pipe, condition=condition, **options).cpu(), resident) < 1e-4
    assert sample(pipe, condition=condition).shape == (1, FRAMES, 3, HEIGHT, WIDTH)  # with the decoder
    assert {part.device.type for part in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.adapter)} == {"cpu"}
