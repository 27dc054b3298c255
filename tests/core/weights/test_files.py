"""Files that are damaged, of another kind, or that would run code: one error that names the file."""

import pickle
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch

from core.errors import PanobenchError
from core.model.base import load_adapter360, load_base, load_motion_adapter
from core.weights.files import WeightsError, open_weights
from core.weights.lora import merge_lora
from core.weights.stable_diffusion import open_checkpoint
from tests.released import adapter_checkpoint, kohya_lora, motion_state, sd_state, write_state
from tests.tiny import tiny_adapter


@pytest.fixture(scope="module")
def base(tiny_base):
    return load_base(*tiny_base)


@pytest.fixture(scope="module")
def configs(tiny_base, tmp_path_factory) -> Path:
    """Configurations of the tiny sizes."""
    folder = tmp_path_factory.mktemp("configs")
    shutil.copytree(tiny_base[1], folder / "motion_adapter")
    return folder


@pytest.fixture(scope="module")
def shelf(base, tmp_path_factory) -> dict[str, Path]:
    """One good file of each kind."""
    folder = tmp_path_factory.mktemp("weights")
    contents = {
        "adapter.ckpt": adapter_checkpoint(tiny_adapter()),
        "motion.ckpt": motion_state(base),
        "sd.safetensors": sd_state(base),
        "lora.safetensors": kohya_lora(base)[0],
        "unet.safetensors": {name: tensor.clone() for name, tensor in base.unet.state_dict().items()},
        "vae.safetensors": {name: tensor.clone() for name, tensor in base.vae.state_dict().items()},
        "ours.safetensors": {name: tensor.clone() for name, tensor in base.motion_adapter.state_dict().items()},
        "xl.safetensors": {"conditioner.embedders.0.x": torch.ones(1), "model.diffusion_model.x": torch.ones(1)},
        "sd2.safetensors": {"cond_stage_model.model.x": torch.ones(1), "model.diffusion_model.x": torch.ones(1)},
        "camera.ckpt": {"down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0."
                        "processor.to_q_lora.down.weight": torch.ones(1)},
        "none.safetensors": {"something": torch.ones(1)},
    }  # fmt: skip
    return {name.split(".")[0]: write_state(folder / name, content) for name, content in contents.items()}


LOADERS = {
    "adapter": load_adapter360,
    "motion": load_motion_adapter,
    "sd": open_checkpoint,
    "lora": lambda path: merge_lora(path, 1.0, torch.nn.Module(), None),
}
NAMES = {
    "adapter": "360-Adapter checkpoint",
    "motion": "motion module of AnimateDiff",
    "sd": r"Stable Diffusion 1\.x checkpoint",
    "lora": "LoRA",
    "unet": "U-Net in diffusers' format",
    "vae": "VAE",
    "ours": "motion adapter in diffusers' format",
    "xl": "Stable Diffusion XL checkpoint",
    "sd2": r"Stable Diffusion 2\.x checkpoint",
    "camera": "motion LoRA of AnimateDiff",
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("kind", NAMES)
def test_a_wrong_kind_is_called_what_it_is(shelf, loader, kind):
    if kind == loader:
        return
    with pytest.raises(WeightsError) as caught:
        LOADERS[loader](shelf[kind])
    message = str(caught.value)
    assert message.startswith(f"{shelf[kind]}: this is a {NAMES[kind]}, expected a {NAMES[loader]}".replace("\\", ""))


@pytest.mark.parametrize("loader", LOADERS)
def test_a_file_of_no_known_kind_shows_its_names(shelf, loader):
    with pytest.raises(WeightsError, match=r"none\.safetensors: not a .*; its 1 keys start with 'something'"):
        LOADERS[loader](shelf["none"])


@pytest.mark.parametrize("kind", LOADERS)
def test_cut_off_and_damaged_files(shelf, tmp_path, kind):
    good = shelf[kind].read_bytes()
    file = tmp_path / shelf[kind].name
    for broken in (good[: len(good) // 2], good[:-1], good[:40], b"\xff" * 200 + good[200:], b""):
        file.write_bytes(broken)
        with pytest.raises(WeightsError) as caught:
            LOADERS[kind](file)
        assert str(caught.value).startswith(f"{file}: ")
        assert "get the file again" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(PanobenchError, match=r"nowhere\.ckpt"):
        LOADERS[kind](tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Please log in", "a web page instead of the weights"),
        (b"some text that is long enough", r"neither a \.safetensors nor a PyTorch file"),
    ],
)
def test_what_downloads_leave_instead_of_weights(tmp_path, content, message):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        open_weights(tmp_path / "x.ckpt")


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("protocol", ["zip", "legacy", "pickle"])
def test_nothing_in_a_pickled_file_is_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"x": torch.ones(1)}, "extra": Evil()}
    if protocol == "pickle":
        (tmp_path / "x.ckpt").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, "x.ckpt", _use_new_zipfile_serialization=protocol == "zip")
    with pytest.raises(WeightsError, match=r"x\.ckpt: .*(does not run|damaged)"):
        open_weights("x.ckpt")
    assert not Path("ran").exists()


def test_the_bookkeeping_of_old_lightning_checkpoints_is_passed_over(tmp_path, monkeypatch):
    """As Stable Diffusion's own .ckpt files hold it: the class as a key among the callbacks."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)
    torch.save(
        {"state_dict": {"x": torch.ones(1)}, "callbacks": {module.ModelCheckpoint: {"m": 1}}}, tmp_path / "a.ckpt"
    )
    for part in (name, "pytorch_lightning.callbacks", "pytorch_lightning"):
        monkeypatch.delitem(sys.modules, part)
    assert open_weights(tmp_path / "a.ckpt").shapes == {"x": (1,)}


def test_an_adapter_without_its_prefix_is_refused(tmp_path):
    """The authors' loader takes such a file without a word, and loads nothing from it."""
    content = adapter_checkpoint(tiny_adapter())
    content["state_dict"] = {name.removeprefix("module."): t for name, t in content["state_dict"].items()}
    file = write_state(tmp_path / "bare.ckpt", content)
    with pytest.raises(WeightsError, match=r"bare\.ckpt: \d\d of its \d\d keys lack the prefix 'module\.' of the"):
        load_adapter360(file)


def without(state, part):
    return {name: tensor for name, tensor in state.items() if part not in name}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "adapter",
            lambda s: without(s, "block2.bias"),
            r"4 missing keys \(module\.body\.0\.block2\.bias, .*, \.\.\.\)$",
        ),
        ("adapter", lambda s: without(s, "conv_in.weight"), r"the key module\.conv_in\.weight is missing"),
        ("adapter", lambda s: s | {"module.more": torch.ones(1)}, r"1 unexpected keys \(module\.more\)$"),
        (
            "adapter",
            lambda s: s | {"module.body.2.block1.bias": torch.ones(7)},
            r"1 of \d+ tensors have other sizes, the first is module\.body\.2\.block1\.bias, \(7,\) instead of \(32,\)",
        ),
        ("adapter", lambda s: s | {"module.conv_in.bias": torch.full((16,), torch.nan)}, "values that are not finite"),
        ("motion", lambda s: without(s, "up_blocks.1.motion_modules.0.temporal_transformer.proj_out"),
         r"2 missing keys \(up_blocks\.1\.motion_modules\.0\.temporal_transformer\.proj_out\.weight, "),
        ("motion", lambda s: without(s, "down_blocks.1"), "not a motion module of AnimateDiff that fits: "),
        ("motion", lambda s: s | {"conv_in.weight": torch.ones(1)}, r"1 unexpected keys \(conv_in\.weight\)"),
        (
            "motion",
            lambda s: {name: tensor + name.count("blocks.1.pos_encoder") for name, tensor in s.items()},
            "two tables of positions",
        ),
        ("motion", lambda s: {key: t[:6] if "norm.weight" in key else t for key, t in s.items()}, "heads and groups"),
    ],
)  # fmt: skip
def test_names_that_are_missing_unexpected_or_of_other_sizes(base, configs, tmp_path, kind, change, message):
    content = adapter_checkpoint(tiny_adapter())["state_dict"] if kind == "adapter" else motion_state(base)
    file = write_state(tmp_path / f"{kind}.ckpt", {"state_dict": change(content)})
    with pytest.raises(WeightsError, match=message) as caught:
        load_adapter360(file) if kind == "adapter" else load_motion_adapter(file, configs=configs)
    assert str(caught.value).startswith(f"{file}: ")


def test_names_of_a_checkpoint_that_are_missing_or_unexpected(base, tiny_base, tmp_path):
    state = sd_state(base)
    unet = "model.diffusion_model.input_blocks.0.0.bias"
    for change, message in (
        (without(state, unet), rf"\(unet\) that fits: 1 missing keys \({unet}\)"),
        (state | {"model.diffusion_model.x": torch.ones(1)}, r"1 unexpected keys \(model\.diffusion_model\.x\)"),
        (state | {"other": torch.ones(1)}, "1 unexpected keys in a Stable Diffusion"),
        (without(state, "first_stage_model.quant_conv"), r"\(vae\) that fits: 2 missing keys"),
    ):
        file = write_state(tmp_path / "sd.safetensors", change)
        with pytest.raises(WeightsError, match=message):
            load_base(file, configs=tiny_base[0])
