"""Both trainings on the tiny stack: the real stages, the real loop, killed and resumed."""

import csv
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import PanobenchError
from core.flow import flow_condition
from core.model.base import load_adapter360, load_base
from core.model.enhance import roll_columns
from core.model.pipeline import Pipeline360
from core.params_schema import AdapterTraining
from core.train.adapter import adapter_loss, build_adapter
from core.train.cache import Cache, draw_clips, mirror_map, seeded
from core.train.diffusion import draw_batch
from core.train.loop import LoopSettings, fit, learning_rate
from core.train.run import train_model
from tests.tiny import FRAMES, HEIGHT, WIDTH, encode_tiny, exit_code_of, tiny_params


@pytest.fixture(scope="module")
def workplace(tiny_base, tmp_path_factory) -> Path:
    """A folder with a tiny cache."""
    folder = tmp_path_factory.mktemp("training")
    here = Path.cwd()
    os.chdir(folder)
    try:
        encode_tiny(tiny_params(tiny_base, encode={"mirror": True}))
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def inside(workplace, monkeypatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def losses(folder: Path) -> list[float]:
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.filterwarnings("error:While injecting")  # LoRA layers in the motion modules
def test_both_models_train_save_and_load_into_the_pipeline(inside, tiny_base):
    params = tiny_params(tiny_base)
    lora, adapter = train_model(params, "lora"), train_model(params, "adapter")
    for folder in (lora, adapter):
        assert len(losses(folder)) == 4
        assert (folder / "training.json").is_file()
        assert not (params.outputs / "checkpoints" / folder.name).exists()
    base = load_base(*tiny_base)
    before = base.motion_unet().state_dict()
    pipe = Pipeline360.from_base(base, load_adapter360(adapter))
    pipe.add_lora(lora)
    after = pipe.unet.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all("attn" in name and "motion_modules" not in name for name in changed)


@pytest.mark.filterwarnings("error:While injecting")
def test_lora_on_convolutions_trains_circularly_and_loads(inside, tiny_base):
    section = {"kind": "lora", "steps": 2, "batch": 2, "learning_rate": 1e-2, "rank": 2, "alpha": 4.0}
    extra = {"convolutions": True, "circular_padding": True}
    params = tiny_params(tiny_base, training={"conv": section | extra})
    folder = train_model(params, "conv")
    pipe = Pipeline360.from_base(load_base(*tiny_base))
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    pipe.add_lora(folder)
    changed = {name for name, weight in pipe.unet.state_dict().items() if not torch.equal(before[name], weight)}
    assert "down_blocks.0.resnets.0.conv1.weight" in changed
    # The merged update is alpha / rank * up @ down, with the alpha that the file carries.
    tensors = load_file(folder / "pytorch_lora_weights.safetensors")
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    update = 2 * tensors[f"unet.{name}.lora_B.weight"] @ tensors[f"unet.{name}.lora_A.weight"]
    merged = pipe.unet.get_submodule(name).weight
    assert torch.allclose(merged, before[f"{name}.weight"] + update, atol=1e-6)


def test_adapter_learns_and_the_base_does_not_change(inside, tiny_base):
    params = tiny_params(tiny_base)
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    settings = params.training["adapter"]
    with ExitStack() as stack:
        adapter = build_adapter(base, settings, seed=0)
        loss = adapter_loss(base, adapter, cache, settings, FRAMES, 0, stack)
        history = fit(adapter, lambda step: loss(0), LoopSettings(8, 3e-3), inside / "x.pt", "x")
    assert history[-1].loss < 0.99 * history[0].loss
    fresh = load_base(*tiny_base)
    for name, weight in base.unet.state_dict().items():
        assert torch.equal(weight, fresh.unet.state_dict()[name])
    assert not any(p.requires_grad for p in base.unet.parameters())


def test_no_graph_before_the_first_injection(inside, tiny_base):
    """The first down block runs without autograd: nothing of it, or before it, needs gradients."""
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    settings = AdapterTraining(kind="adapter", steps=1, batch=1, learning_rate=1e-3)
    graphs = []
    with ExitStack() as stack:
        adapter = build_adapter(base, settings, 0)
        unet = base.motion_unet()
        base.motion_unet = lambda: unet
        for block in unet.down_blocks:  # inner modules, before the injection hook of the block itself
            block.resnets[-1].register_forward_hook(lambda m, i, o: graphs.append(o.requires_grad))
        adapter_loss(base, adapter, cache, settings, FRAMES, 0, stack)(0)
    assert graphs == [False, True, True, True]


def train_until_killed(params, name: str, kill_at: int) -> None:
    """Train, and be killed (SIGKILL) inside step `kill_at`."""
    import core.train.loop as loop

    rate = loop.learning_rate

    def die(settings, step):
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return rate(settings, step)

    loop.learning_rate = die
    train_model(params, name)


@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_killed_training_resumes_to_the_same_losses(workplace, tiny_base, tmp_path, monkeypatch, name):
    common = {"steps": 7, "batch": 2, "learning_rate": 1e-3, "checkpoint_every": 2, "schedule": "cosine"}
    section = {
        "lora": {"kind": "lora", "rank": 2, **common},
        "adapter": {"kind": "adapter", "zero_output": True, **common},
    }
    params = tiny_params(tiny_base, training=section)
    results = {}
    for label in ("killed", "whole"):
        shutil.copytree(workplace / "outputs/tiny/cache", tmp_path / label / "outputs/tiny/cache")
        monkeypatch.chdir(tmp_path / label)
        if label == "killed":
            assert exit_code_of(train_until_killed, params, name, 5) == -signal.SIGKILL
            assert not (params.outputs / "models" / name).exists()
            checkpoint = params.outputs / "checkpoints" / name / "last.pt"
            assert torch.load(checkpoint, weights_only=True)["history"][-1]["step"] == 4
        out = train_model(params, name).resolve()
        results[label] = losses(out), load_file(next(out.glob("*.safetensors")))
    killed, whole = results["killed"], results["whole"]
    assert len(killed[0]) == 7
    assert killed[0] == pytest.approx(whole[0], abs=1e-6)
    for key in whole[1]:
        assert torch.allclose(killed[1][key], whole[1][key], atol=1e-6)


def test_checkpoint_of_other_inputs_is_not_used(tmp_path):
    model = torch.nn.Linear(1, 1)
    settings = LoopSettings(steps=3, learning_rate=0.1, checkpoint_every=1)
    loss = lambda step: (model.weight - 1).square().sum()  # noqa: E731
    fit(model, loss, settings, tmp_path / "c.pt", "one")
    assert len(fit(model, loss, settings, tmp_path / "c.pt", "two")) == 3
    steps_run = []
    fit(model, lambda step: (steps_run.append(step), loss(step))[1], settings, tmp_path / "c.pt", "two")
    assert steps_run == [2]  # the last checkpoint is from before the last step


def test_loop_refuses_a_loss_that_is_not_finite_and_a_broken_checkpoint(tmp_path):
    model = torch.nn.Linear(1, 1)
    with pytest.raises(PanobenchError, match="loss is nan at step 1; lower learning_rate"):
        fit(model, lambda step: model.weight.sum() * float("nan"), LoopSettings(2, 0.1), tmp_path / "c.pt", "x")
    (tmp_path / "c.pt").write_bytes(b"broken")
    with pytest.raises(PanobenchError, match="not a readable checkpoint; remove it"):
        fit(model, lambda step: model.weight.sum(), LoopSettings(2, 0.1), tmp_path / "c.pt", "x")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(tmp_path, precision):
    model = torch.nn.Linear(4, 1)
    x = torch.ones(8, 4)
    history = fit(
        model,
        lambda step: (model(x).float() - 3).square().mean(),
        LoopSettings(20, 0.1, precision=precision),
        tmp_path / "c.pt",
        "x",
    )
    assert history[-1].loss < 0.5 * history[0].loss


def test_learning_rate_schedules():
    assert learning_rate(LoopSettings(10, 2.0), 9) == 2
    cosine = LoopSettings(10, 2.0, schedule="cosine")
    assert learning_rate(cosine, 0) == 2
    assert learning_rate(cosine, 5) == pytest.approx(1)


def test_every_epoch_shows_every_clip_once():
    picked = [clip for step in range(5) for clip in draw_clips(10, 4, seed=1, step=step)]
    assert sorted(picked[:10]) == sorted(picked[10:]) == list(range(10))
    assert picked[:10] != picked[10:]


def draw(cache, base, step=0, **options):
    defaults = {"caption_dropout": 0.0, "random_roll": True, "random_flip": False, "motion_dropout": 0.0}
    captions = [clip["caption"] for clip in cache.clips]
    return draw_batch(cache, base.vae, captions, 3, FRAMES, 1, 7, step, 1000, **(defaults | options))


def test_roll_turns_latents_and_condition_together(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    rolled, plain = draw(cache, base), draw(cache, base, random_roll=False)
    assert torch.equal(rolled.noise, plain.noise)
    turned = 0
    for i in range(3):
        columns = [c for c in range(16) if torch.equal(rolled.latents[i], roll_columns(plain.latents[i], c))]
        assert len(columns) == 1
        assert torch.equal(rolled.condition[i], roll_columns(plain.condition[i], 4 * columns[0]))
        turned += columns[0] > 0
    assert turned


def test_dropout_flip_and_timesteps(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    dropped = draw(cache, base, caption_dropout=1.0, motion_dropout=1.0)
    assert dropped.captions == [""] * 3
    assert dropped.condition.abs().max() == 0
    assert draw(cache, base).condition.abs().max() > 0.1
    assert draw(cache, base, motion_dropout=None).condition is None
    times = torch.cat([draw(cache, base, step).timesteps for step in range(40)])
    assert times.min() >= 0
    assert times.max() < 1000
    assert abs(times.float().mean() - 500) < 20  # stratified; plain uniform draws would spread by about 26
    flips = [draw(cache, base, step, random_flip=True) for step in range(6)]
    assert any(not torch.equal(f.latents, draw(cache, base, s).latents) for s, f in enumerate(flips))


def test_mirrored_flow_points_the_other_way():
    maps = torch.full((1, 3, 2, 4), 128, dtype=torch.uint8)
    maps[0, 0, 0, 0], maps[0, 1, 0, 0] = 255, 200  # top left moves right and down
    mirrored = mirror_map(maps)
    condition, expected = flow_condition(mirrored), flow_condition(maps).flip(-1)
    assert torch.equal(condition[:, 0], -expected[:, 0])
    assert torch.equal(condition[:, 1:], expected[:, 1:])


def test_random_numbers_depend_on_nothing_but_their_parts():
    one = torch.rand(3, generator=seeded(1, "step", 5))
    torch.rand(10)
    assert torch.equal(one, torch.rand(3, generator=seeded(1, "step", 5)))
    assert not torch.equal(one, torch.rand(3, generator=seeded(1, "step", 6)))


def test_bad_requests_name_what_is_wrong(inside, tiny_base, tmp_path, monkeypatch):
    params = tiny_params(tiny_base)
    with pytest.raises(PanobenchError, match="did you mean 'adapter'"):
        train_model(params, "adaptr")
    cache = Cache("outputs/tiny/cache")
    with pytest.raises(PanobenchError, match="0 to 6 were asked for"):
        cache.latents(0, 0, 7)
    with pytest.raises(PanobenchError, match="'a moon' is not encoded"):
        cache.text("a moon")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PanobenchError, match="run `panobench data encode`"):
        train_model(params, "adapter")


def test_cache_has_real_latents_of_the_right_size(inside, tiny_base):
    cache = Cache("outputs/tiny/cache")
    mean, std = cache.latents(1, 1, FRAMES)
    assert mean.shape == std.shape == (FRAMES, 4, HEIGHT // 4, WIDTH // 4)
    assert (std > 0).all()
    assert cache.condition(1, 0, FRAMES).shape == (FRAMES, 3, HEIGHT, WIDTH)
    assert cache.clips[0]["caption"] == "a red ball on a green meadow, at noon"
