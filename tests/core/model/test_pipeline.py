from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from core.errors import PanobenchError
from core.model.base import load_base, weights_hash
from core.model.enhance import roll_columns
from core.model.pipeline import Pipeline360
from core.model.presets import PRESETS, get_preset
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_adapter

SIZE = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH}
EVERY_STEP = replace(PRESETS["paper"], circular_from_step=0)


def pipeline(tiny_base, adapter=False) -> Pipeline360:
    pipe = Pipeline360.from_base(load_base(*tiny_base), tiny_adapter() if adapter else None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def plain(tiny_base) -> Pipeline360:
    return pipeline(tiny_base)


@pytest.fixture(scope="module")
def full(tiny_base) -> Pipeline360:
    return pipeline(tiny_base, adapter=True)


def sample(pipe, prompt="a road", seeds=(1,), steps=2, output_type="pt", **options):
    return pipe(prompt, seeds=list(seeds), steps=steps, output_type=output_type, **SIZE, **options).frames


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("rotation", [False, True])
def test_rolled_noise_and_condition_give_the_rolled_video(full, rotation):
    """Circular padding at every step makes U-Net, adapter and VAE commute with a turn of the sphere."""
    noise = torch.randn(1, 4, FRAMES, 8, 16, generator=torch.Generator().manual_seed(5))
    condition = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(6)) * 2 - 1
    # 90 degrees are 4 of 16 columns, half a column of the coarsest level; 180 degrees are whole ones everywhere.
    preset = replace(EVERY_STEP, theta_deg=180.0)
    options = {"rotation": rotation, "circular_padding": True, "preset": preset}
    video = sample(full, latents=noise, condition=condition, **options)
    turned = sample(full, latents=roll_columns(noise, 8), condition=roll_columns(condition, 32), **options)
    assert relative(turned, roll_columns(video, 32)) < 1e-4
    without = sample(full, latents=roll_columns(noise, 8), condition=roll_columns(condition, 32))
    assert relative(without, roll_columns(sample(full, latents=noise, condition=condition), 32)) > 1e-2


def test_rotation_is_undone_by_paper_and_left_by_released(plain):
    """Where the network commutes with the turn, rotation changes nothing but, in `released`, the final orientation."""
    common = {"theta_deg": 180.0, "circular_from_step": 0, "released_groupnorm": False}
    expected = sample(
        plain, steps=3, circular_padding=True, preset=replace(PRESETS["paper"], **common), output_type="latent"
    )
    for name, columns in (("paper", 0), ("released", 8)):  # three turns by half of 16 columns
        latents = sample(
            plain,
            steps=3,
            rotation=True,
            circular_padding=True,
            preset=replace(PRESETS[name], **common),
            output_type="latent",
        )
        assert relative(latents, roll_columns(expected, columns)) < 1e-4


def test_presets_count_steps_as_stated_for_25():
    paper, released = get_preset("paper"), get_preset("released")
    assert 25 - paper.first_circular_step(25) == 12
    assert 25 - released.first_circular_step(25) == 13
    assert [released.adapter_acts(i, 25) for i in (18, 19)] == [True, False]
    assert all(paper.adapter_acts(i, 25) for i in range(25))
    with pytest.raises(PanobenchError, match="did you mean 'released'"):
        get_preset("release")


def test_batch_gives_what_samples_give_alone(full):
    prompts, seeds = ["a road", "the sea at night", "a tower"], [3, 1, 2]
    together = sample(full, prompts, seeds, rotation=True, circular_padding=True)
    for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = sample(full, prompt, [seed], rotation=True, circular_padding=True)
        assert torch.equal(together[i], alone[0])
    # More samples per pass of the networks: their matrix products round differently.
    faster = sample(full, prompts, seeds, rotation=True, circular_padding=True, batch_size=3)
    assert (together - faster).abs().max() < 2e-5


def test_same_seed_same_bits_and_other_seed_other_video(plain):
    one, two = sample(plain, output_type="uint8"), sample(plain, output_type="uint8")
    assert one.shape == (1, FRAMES, HEIGHT, WIDTH, 3)
    assert one.dtype == np.uint8
    assert (one == two).all()
    assert (one != sample(plain, seeds=[2], output_type="uint8")).any()


def test_switches_prompts_and_conditions_all_matter(full, plain):
    motion = torch.full((1, FRAMES, 3, HEIGHT, WIDTH), 0.5)
    outputs = [
        sample(full, output_type="latent"),
        sample(plain, output_type="latent"),
        sample(full, "snow", output_type="latent"),
        sample(full, negative_prompt="snow", output_type="latent"),
        sample(full, guidance_scale=1.0, output_type="latent"),
        sample(full, condition=motion, output_type="latent"),
        sample(full, condition=motion, rotation=True, output_type="latent"),
        sample(full, condition=motion, circular_padding=True, output_type="latent"),
        sample(full, condition=motion, rotation=True, preset="released", output_type="latent"),
    ]
    for i, one in enumerate(outputs):
        assert all((one - two).abs().max() > 1e-4 for two in outputs[:i])


def test_no_condition_is_constant_zero(full):
    zero = torch.zeros(1, FRAMES, 3, HEIGHT, WIDTH)
    assert torch.equal(sample(full), sample(full, condition=zero))


def test_modules_are_as_found_after_a_run_and_after_an_exception(full):
    def state():
        return [
            (name, sorted(module.__dict__), len(module._forward_hooks))
            for part in (full.unet, full.vae, full.adapter)
            for name, module in part.named_modules()
        ]

    before, expected = state(), sample(full)
    sample(full, rotation=True, circular_padding=True)

    def fail(step, latents):
        if step == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sample(full, circular_padding=True, callback=fail)
    assert state() == before
    assert torch.equal(sample(full), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 40, "width": 80}, "multiples of 32"),
        ({"height": 32, "width": 32}, "width = 2 x height"),
        ({"frames": 17}, "1 to 16"),
        ({"steps": 0}, "steps must be 1"),
        ({"seeds": [1, 2]}, "2 seeds for 1 prompts"),
        ({"prompt": []}, "one or more strings"),
        ({"negative_prompt": ["a", "b"]}, "2 negative prompts"),
        ({"condition": torch.zeros(1, 4, 3, 32, 32)}, "condition must be"),
        ({"condition": torch.full((1, 4, 3, 32, 64), 2.0)}, r"\[-1, 1\]"),
        ({"latents": torch.zeros(1, 4, 4, 8, 8)}, "latents must be"),
        ({"batch_size": 0}, "batch_size must be 1"),
        ({"output_type": "png"}, "output_type must be"),
        ({"preset": "papr"}, "did you mean 'paper'"),
    ],
)
def test_wrong_inputs_are_refused(full, changes, message):
    with pytest.raises(PanobenchError, match=message):
        full(**({"prompt": "a road", "seeds": [1], "steps": 2, **SIZE} | changes))


def test_condition_without_adapter_is_refused(plain):
    with pytest.raises(PanobenchError, match="needs an adapter"):
        sample(plain, condition=torch.zeros(1, FRAMES, 3, HEIGHT, WIDTH))


def test_lora_is_merged_with_its_scale(tiny_base, tmp_path):
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    up, down = torch.randn(32, 2), torch.randn(2, 32)
    layers = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    pipe = pipeline(tiny_base)
    before = pipe.unet.get_submodule(name).weight.clone()
    pipe.add_lora(tmp_path, scale=0.5)
    assert torch.allclose(pipe.unet.get_submodule(name).weight, before + 0.5 * up @ down, atol=1e-5)
    assert not any("lora" in key for key in pipe.unet.state_dict())


def test_a_lora_with_layers_that_the_base_lacks_is_refused(tiny_base, tmp_path):
    names = ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.nowhere.to_q"]
    layers = {
        f"{n}.lora_{x}.weight": torch.zeros(2, 32) if x == "A" else torch.zeros(32, 2) for n in names for x in "AB"
    }
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers)
    with pytest.raises(PanobenchError, match=r"lacks 1 of its 2 layers; .* key is unet\.mid_block.*nowhere"):
        pipeline(tiny_base).add_lora(tmp_path)


def test_missing_or_foreign_lora_is_named(tiny_base, tmp_path):
    pipe = pipeline(tiny_base)
    with pytest.raises(PanobenchError, match="no such LoRA"):
        pipe.add_lora(tmp_path)
    torch_file = tmp_path / "x.safetensors"
    torch_file.write_bytes(b"nothing")
    with pytest.raises(PanobenchError, match=r"neither a \.safetensors nor a PyTorch file"):
        pipe.add_lora(torch_file)


def test_base_errors_name_the_folder(tiny_base, tmp_path):
    with pytest.raises(PanobenchError, match=r"nowhere: the base model is missing"):
        load_base(tmp_path / "nowhere")
    (tmp_path / "base").mkdir()
    with pytest.raises(PanobenchError, match=r"base/vae: missing from the base"):
        load_base(tmp_path / "base")
    with pytest.raises(PanobenchError, match="motion_adapter"):
        load_base(tiny_base[0], tmp_path / "motion_adapter")
    (tmp_path / "base" / "vae").mkdir()
    with pytest.raises(PanobenchError, match="not a loadable AutoencoderKL"):
        load_base(tmp_path / "base")


def test_a_missing_weight_is_refused_not_drawn_at_random(tiny_base, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_base[0], tmp_path / "base")
    for part in ("unet", "text_encoder"):
        file = next((tmp_path / "base" / part).glob("*.safetensors"))
        tensors = load_file(file)
        tensors.pop(sorted(tensors)[3])
        save_file(tensors, file, metadata={"format": "pt"})
        with pytest.raises(PanobenchError, match=part):
            load_base(tmp_path / "base")
        shutil.rmtree(tmp_path / "base" / part)
        shutil.copytree(tiny_base[0] / part, tmp_path / "base" / part)


def test_weights_hash_changes_with_one_byte_and_with_a_name(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    first = weights_hash(tmp_path)
    (tmp_path / "a").write_bytes(b"13")
    second = weights_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, weights_hash(tmp_path)}) == 3


SCHEDULERS = ["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler", "PNDMScheduler"]
MORE_SCHEDULERS = [
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "DPMSolverSinglestepScheduler",
    "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler",
    "LMSDiscreteScheduler", "UniPCMultistepScheduler",
]  # fmt: skip


@pytest.mark.parametrize(
    "name", [*SCHEDULERS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_SCHEDULERS)]
)
def test_any_scheduler_samples_and_turns_with_the_sphere(full, name):
    """With padding at every step, rotation by half a turn changes nothing: also with schedulers that look back."""
    own = full.scheduler
    full.scheduler = getattr(diffusers, name).from_config(own.config)
    try:
        options = {"circular_padding": True, "preset": replace(EVERY_STEP, theta_deg=180.0), "output_type": "latent"}
        alone = sample(full, seeds=[4], steps=4, **options)
        together = sample(full, ["a road"] * 2, seeds=[9, 4], steps=4, **options)
        turned = sample(full, seeds=[4], steps=4, rotation=True, **options)
    finally:
        full.scheduler = own
    assert torch.isfinite(alone).all()
    assert torch.equal(together[1], alone[0])
    assert relative(turned, alone) < 2e-4


def test_a_scheduler_of_another_kind_of_model_is_refused(plain):
    own = plain.scheduler
    plain.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    try:
        with pytest.raises(PanobenchError, match="FlowMatchEulerDiscreteScheduler is not a scheduler of a model"):
            sample(plain)
    finally:
        plain.scheduler = own


def test_output_types_hold_the_same_video(plain):
    levels = sample(plain, output_type="uint8")
    floats, pictures = sample(plain, output_type="np"), sample(plain, output_type="pil")
    assert floats.shape == levels.shape
    assert (np.rint(floats * 255).astype(np.uint8) == levels).all()
    assert (np.stack([np.asarray(picture) for picture in pictures[0]]) == levels[0]).all()
    assert torch.equal(sample(plain).permute(0, 1, 3, 4, 2), torch.from_numpy(floats))


def test_the_whole_pipeline_saves_and_loads_as_diffusers_pipelines_do(tiny_base, tmp_path):
    base = load_base(*tiny_base, released_groupnorm=True)
    pipe = Pipeline360.from_base(base, tiny_adapter())
    pipe.save_pretrained(tmp_path)
    again = Pipeline360.from_pretrained(tmp_path, local_files_only=True)
    again.set_progress_bar_config(disable=True)
    assert again.config.released_groupnorm
    options = {"rotation": True, "circular_padding": True, "output_type": "latent"}
    # Another kernel of attention: `motion_unet` chooses it.
    assert relative(sample(again, **options), sample(pipe, **options)) < 1e-4
