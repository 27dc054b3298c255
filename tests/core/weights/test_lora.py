"""LoRA files of kohya and diffusers, against up @ down written out."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from core.model.base import load_base
from core.model.pipeline import Pipeline360
from core.weights.files import WeightsError
from core.weights.lora import merge_lora
from tests.released import OUT_LAYER, TEXT_LAYERS, UNET_LAYER, kohya_lora, write_state

TEXT = "lora_te_text_model_encoder_layers_0"


@pytest.fixture
def base(tiny_base):
    return load_base(*tiny_base)


def weights(base) -> dict[str, torch.Tensor]:
    found = {f"unet.{name}": tensor.clone() for name, tensor in base.unet.state_dict().items()}
    return found | {f"te.{name}": tensor.clone() for name, tensor in base.text_encoder.state_dict().items()}


@pytest.mark.parametrize("alpha", [None, 1.0, 8.0])
@pytest.mark.parametrize(("suffix", "scale"), [(".safetensors", 1.0), (".pt", -0.5)])
def test_kohya_with_and_without_alpha_reaches_every_layer_that_it_names(base, tmp_path, alpha, suffix, scale):
    state, deltas = kohya_lora(base, alpha)
    before = weights(base)
    merged = merge_lora(write_state(tmp_path / f"lora{suffix}", state), scale, base.unet, base.text_encoder)
    assert merged == len(deltas) == 5
    after = weights(base)
    for name, tensor in before.items():
        delta = deltas.get(name.removesuffix(".weight"))
        if delta is None or name.endswith(".bias"):
            assert torch.equal(after[name], tensor), name
        else:
            assert torch.allclose(after[name], tensor + scale * delta, atol=1e-6), name


def test_it_goes_into_the_video_model_and_the_text_encoder(base, tmp_path):
    state, deltas = kohya_lora(base, 4.0)
    file = write_state(tmp_path / "lora.safetensors", state)
    pipe = Pipeline360.from_base(base)
    before = pipe.unet.get_submodule(UNET_LAYER).weight.clone()
    pipe.add_lora(file, 0.5)
    assert torch.allclose(
        pipe.unet.get_submodule(UNET_LAYER).weight, before + 0.5 * deltas[f"unet.{UNET_LAYER}"], atol=1e-6
    )
    output = TEXT_LAYERS[1]
    fresh = copy.deepcopy(base.text_encoder.get_submodule(output).weight)
    pipe.add_lora(file, -0.5)  # and out again
    assert not torch.allclose(base.text_encoder.get_submodule(output).weight, fresh, atol=1e-4)
    assert torch.allclose(pipe.unet.get_submodule(UNET_LAYER).weight, before, atol=1e-5)


def test_convolutions_and_stable_diffusions_own_names(base, tmp_path):
    generator = torch.Generator().manual_seed(1)
    up, down = torch.randn(16, 3, 1, 1, generator=generator), torch.randn(3, 16, 3, 3, generator=generator)
    state = {
        # down_blocks.0.resnets.0.conv1, by either name; a linear layer as 1x1 convolutions
        "lora_unet_input_blocks_1_0_in_layers_2.lora_up.weight": up,
        "lora_unet_input_blocks_1_0_in_layers_2.lora_down.weight": down,
        f"lora_unet_{OUT_LAYER.replace('.', '_')}.lora_up.weight": torch.ones(16, 1, 1, 1),
        f"lora_unet_{OUT_LAYER.replace('.', '_')}.lora_down.weight": torch.ones(1, 16, 1, 1),
    }
    before = weights(base)
    assert merge_lora(write_state(tmp_path / "l.safetensors", state), 1.0, base.unet, None) == 2
    after = weights(base)
    name = "unet.down_blocks.0.resnets.0.conv1.weight"
    delta = torch.einsum("orxy,rikl->oikl", up, down)
    assert torch.allclose(after[name], before[name] + delta, atol=1e-5)
    assert torch.allclose(after[f"unet.{OUT_LAYER}.weight"], before[f"unet.{OUT_LAYER}.weight"] + 1, atol=1e-6)


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("unet.{}.lora_B.weight", "unet.{}.lora_A.weight"),
        ("unet.{}.lora.up.weight", "unet.{}.lora.down.weight"),
        ("unet.{}.processor.{}_lora.up.weight", "unet.{}.processor.{}_lora.down.weight"),
        ("{}.processor.{}_lora.up.weight", "{}.processor.{}_lora.down.weight"),
    ],
)
@pytest.mark.parametrize("layer", [UNET_LAYER, OUT_LAYER])
def test_names_of_all_ages_of_diffusers(base, tmp_path, up, down, layer):
    block, _, projection = layer.removesuffix(".0").rpartition(".")
    arguments = (block, projection) if "processor" in up else (layer,)
    state = {up.format(*arguments): torch.ones(base.unet.get_submodule(layer).weight.shape[0], 1),
             down.format(*arguments): torch.ones(1, base.unet.get_submodule(layer).weight.shape[1])}  # fmt: skip
    before = base.unet.get_submodule(layer).weight.clone()
    assert merge_lora(write_state(tmp_path / "l.safetensors", state), 2.0, base.unet, base.text_encoder) == 1
    assert torch.allclose(base.unet.get_submodule(layer).weight, before + 2, atol=1e-6)


def test_diffusers_text_encoder_and_alpha_in_the_metadata(base, tmp_path):
    name = TEXT_LAYERS[0]
    layers = {
        f"{name}.lora_A.weight": torch.ones(2, 16),
        f"{name}.lora_B.weight": torch.ones(16, 2),
    }
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        text_encoder_lora_layers={f"text_model.{key}": tensor for key, tensor in layers.items()},
        text_encoder_lora_adapter_metadata={"r": 2, "lora_alpha": 6},
    )
    before = base.text_encoder.get_submodule(name).weight.clone()
    assert merge_lora(tmp_path, 1.0, base.unet, base.text_encoder) == 1
    assert torch.allclose(base.text_encoder.get_submodule(name).weight, before + 3 * 2, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{TEXT}_self_attn_out_proj.lora_up.weight"), "lacks its 'up' factor"),
        (
            lambda s: s.update({key.replace("self_attn_out_proj", "self_attn_out"): s.pop(key)
                                for key in list(s) if "out_proj" in key}),
            rf"lacks 1 of its 5 layers; the first unexpected key is {TEXT}_self_attn_out\.",
        ),
        (lambda s: s.update({"lora_unet_x.dora_scale": torch.ones(1)}), r"lora_unet_x\.dora_scale; it is of a variant"),
        (lambda s: s.update({"lora_unet_x.hada_w1_a": torch.ones(1)}), "this is a LyCORIS adapter"),
        (lambda s: s.update({key: torch.ones(3, 5) for key in s if "attn1" in key and "up" in key}), "no common rank"),
        (
            lambda s: s.update({key: torch.ones(2, 5) for key in s if "attn1" in key and "down" in key}),
            r"the update of lora_unet_mid.* is \(32, 5\), the base's layer \(32, 32\)",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_changes_nothing(base, tmp_path, change, message):
    state, _ = kohya_lora(base, 2.0)
    change(state)
    before = weights(base)
    with pytest.raises(WeightsError, match=message):
        merge_lora(write_state(tmp_path / "lora.safetensors", state), 1.0, base.unet, base.text_encoder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(base).items())


def test_text_layers_need_the_text_encoder(base, tmp_path):
    file = write_state(tmp_path / "lora.safetensors", kohya_lora(base)[0])
    with pytest.raises(WeightsError, match="lacks 3 of its 5 layers"):
        merge_lora(file, 1.0, base.unet, None)


def test_a_broken_statement_of_alpha_is_named(base, tmp_path):
    state, _ = kohya_lora(base)
    save_file(state, tmp_path / "l.safetensors", metadata={"lora_adapter_metadata": "{"})
    with pytest.raises(WeightsError, match="lora_adapter_metadata is not JSON"):
        merge_lora(tmp_path / "l.safetensors", 1.0, base.unet, base.text_encoder)
    assert load_file(tmp_path / "l.safetensors").keys() == state.keys()
