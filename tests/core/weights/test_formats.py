"""Published formats written at tiny size and loaded again, against the modules they came from."""

import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import MotionAdapter, UNetMotionModel
from diffusers.loaders.single_file_utils import (
    convert_animatediff_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file

from core.errors import PanobenchError
from core.model.adapter import Adapter360
from core.model.base import (
    decode_latents,
    encode_text,
    load_adapter360,
    load_base,
    load_motion_adapter,
    personalise,
    weights_hash,
)
from core.weights.files import WeightsError
from core.weights.motion import default_config, load_motion_module, released_names
from core.weights.stable_diffusion import PARTS, clip_tokenizer, empty_part, open_checkpoint
from tests.released import adapter_checkpoint, motion_state, sd_state, write_state
from tests.tiny import tiny_adapter


@pytest.fixture(scope="module")
def base(tiny_base):
    return load_base(*tiny_base)


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["sd.safetensors", "sd.ckpt"])
def test_stable_diffusion_from_one_file_computes_what_the_folder_does(base, tiny_base, tmp_path, name):
    state = sd_state(base)
    file = write_state(tmp_path / name, state if name.endswith("safetensors") else {"state_dict": state, "epoch": 1})
    loaded = load_base(file, tiny_base[1], configs=tiny_base[0])
    latents, text = torch.randn(1, 4, 8, 16), encode_text(base.tokenizer, base.text_encoder, ["a road"])
    with torch.no_grad():
        for one, two in (
            (base.unet(latents, 5, text).sample, loaded.unet(latents, 5, text).sample),
            (decode_latents(base.vae, latents), decode_latents(loaded.vae, latents)),
            (text, encode_text(loaded.tokenizer, loaded.text_encoder, ["a road"])),
        ):
            assert torch.equal(one, two)
    assert loaded.scheduler.config.beta_schedule == "linear"
    assert not loaded.unet.training
    assert not any(p.requires_grad for p in loaded.text_encoder.parameters())


def test_names_of_the_single_file_are_those_that_diffusers_reads(base):
    """diffusers' own converter, which knows the published files, gets the weights back from these names."""
    state = sd_state(base)
    for module, convert in ((base.unet, convert_ldm_unet_checkpoint), (base.vae, convert_ldm_vae_checkpoint)):
        config = {**module.config, "class_embed_type": None}
        found, own = convert(dict(state), config), module.state_dict()
        assert found.keys() == own.keys()
        assert all(torch.equal(found[name].reshape(own[name].shape), own[name]) for name in own)


def test_half_precision_and_text_encoders_of_early_merges_load(base, tiny_base, tmp_path):
    state = {
        name.replace("transformer.text_model.", "transformer."): t.half() if t.is_floating_point() else t
        for name, t in sd_state(base).items()
    }
    loaded = load_base(write_state(tmp_path / "half.safetensors", state), configs=tiny_base[0])
    assert loaded.text_encoder.dtype == torch.float32
    for one, two in ((loaded.unet, base.unet), (loaded.text_encoder, base.text_encoder)):
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.allclose(a, b, atol=1e-3)


def other(base):
    """The same base with other weights in every network."""
    parts = {name: type(network).from_config(network.config) for name, network in
             (("unet", base.unet), ("vae", base.vae))}  # fmt: skip
    parts["text_encoder"] = type(base.text_encoder)(base.text_encoder.config)
    return replace(base, **{name: network.eval() for name, network in parts.items()})


def test_a_personalised_model_replaces_what_it_has(base, tiny_base, tmp_path):
    theirs = other(base)
    whole = write_state(tmp_path / "whole.safetensors", sd_state(theirs))
    bare = write_state(tmp_path / "bare.ckpt", sd_state(theirs, ("unet",)))
    made = personalise(base, whole, configs=tiny_base[0])
    assert same(made.unet, theirs.unet)
    assert same(made.vae, theirs.vae)
    assert same(made.text_encoder, theirs.text_encoder)
    assert made.motion_adapter is base.motion_adapter
    as_released = personalise(base, whole, text_encoder=False, configs=tiny_base[0])
    assert same(as_released.unet, theirs.unet)
    assert as_released.text_encoder is base.text_encoder
    made = personalise(base, bare, configs=tiny_base[0])
    assert same(made.unet, theirs.unet)
    assert made.vae is base.vae
    assert made.text_encoder is base.text_encoder
    with pytest.raises(WeightsError, match=r"bare\.ckpt: holds no vae; set base\.model to a whole checkpoint"):
        load_base(bare, configs=tiny_base[0])
    folder = tmp_path / "folder"
    theirs.unet.save_pretrained(folder / "unet")
    made = personalise(base, folder)
    assert same(made.unet, theirs.unet)
    assert made.vae is base.vae


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_motion_modules_as_animatediff_publishes_them(base, tmp_path, wrapped, suffix):
    state = motion_state(base)
    assert {name.split(".")[0] for name in state} == {"down_blocks", "up_blocks"}
    if wrapped:  # as AnimateDiff's own training saves it
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    content = {"epoch": 1, "state_dict": state} if wrapped and suffix == ".ckpt" else state
    config = {"motion_num_attention_heads": 2, "motion_norm_num_groups": 4}
    loaded = load_motion_module(write_state(tmp_path / f"mm{suffix}", content), config)
    assert same(loaded, base.motion_adapter)
    assert loaded.config.motion_max_seq_length == 16
    assert loaded.config.motion_norm_num_groups == 4


def test_names_of_motion_modules_are_those_that_diffusers_reads(base):
    found, own = convert_animatediff_checkpoint_to_diffusers(motion_state(base)), base.motion_adapter.state_dict()
    assert found.keys() == {name for name in own if not name.endswith("pos_embed.pe")}
    assert all(torch.equal(found[name], own[name]) for name in found)


@pytest.mark.parametrize("pseudo_3d", [True, False])
def test_the_released_adapter_checkpoint(tmp_path, pseudo_3d):
    adapter = tiny_adapter(pseudo_3d=pseudo_3d)
    loaded = load_adapter360(write_state(tmp_path / "360dvd.ckpt", adapter_checkpoint(adapter)))
    condition = torch.rand(1, 3, 3, 32, 64) * 2 - 1
    for one, two in zip(adapter(condition), loaded(condition), strict=True):
        assert torch.equal(one, two)


def test_folders_in_the_names_of_older_versions_load(base, tiny_base, tmp_path):
    """Stable Diffusion 1.5's own folder: `text_model.` before the text encoder's names, old names in the VAE."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_base[0], folder)
    file = folder / "text_encoder/model.safetensors"
    state = {f"text_model.{name}": tensor for name, tensor in load_file(file).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(32)[None]
    save_file(state, file, metadata={"format": "pt"})
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = {}
    for name, tensor in load_file(file).items():
        for new, before in old.items():
            name = name.replace(new, before)
        state[name] = tensor
    save_file(state, file, metadata={"format": "pt"})
    loaded = load_base(folder)
    assert same(loaded.vae, base.vae)
    assert same(loaded.text_encoder, base.text_encoder)


def test_the_schedule_is_animatediffs_where_the_folder_has_stable_diffusions(tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base[0], folder)
    file = folder / "scheduler/scheduler_config.json"
    file.write_text(file.read_text().replace('"linear"', '"scaled_linear"').replace("DDIMScheduler", "PNDMScheduler"))
    scheduler = load_base(folder).scheduler
    assert type(scheduler).__name__ == "DDIMScheduler"
    assert scheduler.config.beta_schedule == "linear"
    assert scheduler.config.steps_offset == 1
    assert scheduler.config.set_alpha_to_one  # as the released code samples


def test_the_tokenizer_of_single_files_is_clips():
    """Against open_clip's own tokenizer, whose vocabulary it is made of."""
    texts = ["an panoramic view, a volcano", "Café naïve 360° view!!  don't", ""]
    tokenizer = clip_tokenizer()
    ours = tokenizer(texts, padding="max_length", max_length=77, truncation=True).input_ids
    for one, two in zip(ours, SimpleTokenizer()(texts).tolist(), strict=True):
        length = one.index(49407) + 1
        assert one[:length] == two[:length]
        assert set(one[length:]) <= {49407}  # padded with the end token, as Stable Diffusion 1.x is
    assert len(tokenizer) == 49408


def test_full_size_networks_have_the_published_parameters_and_names():
    """On the meta device, from the configurations that come with panobench."""
    counts = {"unet": (859_520_964, 686), "vae": (83_653_863, 248), "text_encoder": (123_060_480, 196)}
    networks = {part: empty_part(part) for part in PARTS}
    for part, network in networks.items():
        assert all(parameter.is_meta for parameter in network.parameters())
        assert (sum(p.numel() for p in network.parameters()), len(network.state_dict())) == counts[part]
    with torch.device("meta"):
        motion, adapter = MotionAdapter(**{k: v for k, v in default_config().items() if k[0] != "_"}), Adapter360()
        video = UNetMotionModel.from_unet2d(networks["unet"], motion)
    assert sum(p.numel() for p in motion.parameters()) == 417_137_600
    names = {theirs for name in motion.state_dict() for theirs in released_names(name)}
    assert len(names) == 560
    module = "up_blocks.3.motion_modules.2.temporal_transformer.transformer_blocks.0"
    assert {
        f"{module}.attention_blocks.1.pos_encoder.pe",
        f"{module}.attention_blocks.0.to_out.0.bias",
        f"{module}.norms.1.weight",
        f"{module}.ff.net.0.proj.weight",
        f"{module}.ff_norm.bias",
    } <= names
    assert not any(name.startswith("mid_block") for name in names)
    tables = [t for name, t in motion.state_dict().items() if name.endswith("pos_embed.pe")]
    assert {tuple(table.shape) for table in tables} == {(1, 24, 320), (1, 24, 640), (1, 24, 1280)}
    assert sum(p.numel() for p in adapter.parameters()) == 47_051_840
    assert len(adapter.state_dict()) == 22
    assert sum(p.numel() for p in video.parameters()) == 859_520_964 + 417_137_600


def test_hashes_tell_files_and_folders_apart_by_their_content(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    first = weights_hash(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"13")
    assert weights_hash(tmp_path / "a") != first
    with pytest.raises(WeightsError, match="no such weights"):
        weights_hash(tmp_path / "b")


def test_a_file_of_another_size_than_its_configuration_is_refused(base, tmp_path):
    file = write_state(tmp_path / "sd.safetensors", sd_state(base))
    with pytest.raises(PanobenchError, match=r"sd\.safetensors: not a Stable Diffusion 1\.x checkpoint \(vae\) that"):
        load_base(file)  # without `configs`, Stable Diffusion 1.5's sizes are expected
    assert open_checkpoint(file).shapes["betas"] == (10,)


def test_motion_modules_load_by_their_path_where_a_folder_would(base, tmp_path):
    """With AnimateDiff's own heads and groups, as the file itself does not tell."""
    real = MotionAdapter(
        block_out_channels=(32, 32), motion_layers_per_block=1, motion_norm_num_groups=32,
        motion_num_attention_heads=8, motion_max_seq_length=24, use_motion_mid_block=True,
    )  # fmt: skip
    state = {theirs: tensor for name, tensor in real.state_dict().items() for theirs in released_names(name)}
    loaded = load_motion_adapter(write_state(tmp_path / "mm_sd_v15_v2.ckpt", state))
    assert same(loaded, real)
    assert loaded.config.use_motion_mid_block
