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
from core.flow import flow_condition, mirror_maps
from core.model.base import encode_text, load_adapter360, load_base
from core.model.enhance import circular_padding, roll_columns
from core.model.groupnorm import released_groupnorm
from core.model.pipeline import Pipeline360
from core.params_schema import AdapterTraining
from core.train.adapter import adapter_loss, build_adapter
from core.train.cache import Cache, draw_clips, seeded
from core.train.diffusion import Batch, Drawing, DrawingAhead, Losses, Rows
from core.train.loop import LoopSettings, fit
from core.train.raw import RawClips
from core.train.run import train_model
from core.train.validation import validation_videos
from core.video import read_video
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
        loss = adapter_loss(base, base.motion_unet(), adapter, cache, settings, FRAMES, 0, stack)
        same = lambda rows, following: loss(Rows(0, rows.chosen, rows.total), None)  # noqa: E731
        history = fit(adapter, same, LoopSettings(8, 3e-3, batch=2), inside / "x.pt", "x").rows
    assert history[-1].loss < 0.99 * history[0].loss
    fresh = load_base(*tiny_base)
    for name, weight in base.unet.state_dict().items():
        assert torch.equal(weight, fresh.unet.state_dict()[name])
    assert not any(p.requires_grad for p in base.unet.parameters())


def test_the_base_decides_the_groupnorm_of_the_training(inside, tiny_base):
    """As AnimateDiff's modules were trained: other losses, the same from the loss itself with that GroupNorm."""
    params = tiny_params(tiny_base, base={"groupnorm": "released"})
    other = losses(train_model(params, "adapter"))
    plain = losses(train_model(tiny_params(tiny_base), "adapter"))
    assert abs(other[0] - plain[0]) > 1e-5
    base, settings = load_base(*tiny_base), params.training["adapter"]
    unet, adapter = base.motion_unet(), build_adapter(base, settings, params.seed)
    with ExitStack() as stack, released_groupnorm(unet):
        loss = adapter_loss(base, unet, adapter, Cache("outputs/tiny/cache"), settings, FRAMES, params.seed, stack)
        found = loss(Rows(0, range(settings.batch), settings.batch), None).mean.item()
    assert found == pytest.approx(other[0], abs=1e-6)


def test_no_graph_before_the_first_injection(inside, tiny_base):
    """The first down block runs without autograd: nothing of it, or before it, needs gradients."""
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    settings = AdapterTraining(kind="adapter", steps=1, batch=1, learning_rate=1e-3)
    graphs = []
    with ExitStack() as stack:
        adapter = build_adapter(base, settings, 0)
        unet = base.motion_unet()
        for block in unet.down_blocks:  # inner modules, before the injection hook of the block itself
            block.resnets[-1].register_forward_hook(lambda m, i, o: graphs.append(o.requires_grad))
        adapter_loss(base, unet, adapter, cache, settings, FRAMES, 0, stack)(Rows(0, range(1), 1), None)
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
        "adapter": {
            "kind": "adapter",
            "zero_output": True,
            "ema": 0.9,
            **common,
            "batch": 1,
            "gradient_accumulation": 2,
        },
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
        curve = (out / "loss_by_timestep.csv").read_text()
        results[label] = losses(out), load_file(next(out.glob("*.safetensors"))), curve
    killed, whole = results["killed"], results["whole"]
    assert len(killed[0]) == 7
    assert killed[0] == pytest.approx(whole[0], abs=1e-6)
    for key in whole[1]:
        assert torch.allclose(killed[1][key], whole[1][key], atol=1e-6)
    assert killed[2] == whole[2]


def test_every_epoch_shows_every_clip_once():
    picked = draw_clips(10, range(20), seed=1)
    assert sorted(picked[:10]) == sorted(picked[10:]) == list(range(10))
    assert picked[:10] != picked[10:]


def draw(clips, base, step=0, rows=range(3), total=3, motion_dropout: float | None = 0.0, **options) -> Batch:
    values = {"caption_dropout": 0.0, "random_roll": True, "random_flip": False} | options
    settings = AdapterTraining(kind="adapter", steps=1, batch=1, learning_rate=1e-3, **values)
    captions = [clip["caption"] for clip in clips.clips]
    return Drawing(clips, base, captions, settings, 7, FRAMES, 1, motion_dropout)(Rows(step, rows, total))


def test_a_row_is_the_same_however_the_step_is_divided(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    whole = draw(cache, base, 5, range(4), 4)
    halves = [draw(cache, base, 5, rows, 4) for rows in (range(2), range(2, 4))]
    for name in ("latents", "condition", "noise", "timesteps"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(half, name) for half in halves])), name
    assert whole.captions == halves[0].captions + halves[1].captions


def test_drawing_ahead_changes_nothing(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    settings = AdapterTraining(kind="adapter", steps=1, batch=1, learning_rate=1e-3)
    draw = Drawing(cache, base, [clip["caption"] for clip in cache.clips], settings, 7, FRAMES, 1, 0.0)
    order = [Rows(step, range(2), 2) for step in range(4)]
    ahead = DrawingAhead(draw, torch.device("cpu"))
    assert not ahead.enabled
    ahead.enabled = True
    for i, rows in enumerate(order):
        announced = Rows(9, range(1), 1) if i == 1 else [*order, None][i + 1]  # once not what is then asked for
        batch, plain = ahead(rows, announced), draw(rows)
        assert torch.equal(batch.latents, plain.latents)
        assert torch.equal(batch.condition, plain.condition)
        assert torch.equal(batch.timesteps, plain.timesteps)
    broken = Rows(0, range(0), 1)  # no rows: fails in the thread, and is heard of when it is asked for
    ahead(order[0], broken)
    with pytest.raises(ValueError, match="unpack"):
        ahead(broken, None)
    ahead.close()


def test_roll_turns_latents_and_condition_together_by_whole_latent_columns(inside):
    cache = Cache("outputs/tiny/cache")
    plain = cache.window(0, 1, FRAMES, 1, mirrored=False, turn=0.0, motion=True)
    for turn in (0.3, 0.99):
        columns = int(turn * 16)
        rolled = cache.window(0, 1, FRAMES, 1, mirrored=False, turn=turn, motion=True)
        for name, factor in (("mean", 1), ("std", 1), ("condition", 4)):
            assert torch.equal(getattr(rolled, name), roll_columns(getattr(plain, name), factor * columns)), name


def test_rolling_is_drawn_and_changes_neither_noise_nor_timesteps(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    rolled, plain = draw(cache, base), draw(cache, base, random_roll=False)
    assert torch.equal(rolled.noise, plain.noise)
    assert torch.equal(rolled.timesteps, plain.timesteps)
    assert not torch.equal(rolled.condition, plain.condition)


def test_raw_clips_are_what_the_cache_holds_and_roll_by_single_pixels(inside, tiny_base):
    params, base, cache = tiny_params(tiny_base), load_base(*tiny_base), Cache("outputs/tiny/cache")
    raw = RawClips(params, base)
    assert [clip["caption"] for clip in raw.clips] == [clip["caption"] for clip in cache.clips]
    for mirrored in (False, True):
        ours = raw.window(1, 0, 3, 2, mirrored=mirrored, turn=0.0, motion=True)
        theirs = cache.window(1, 0, 3, 2, mirrored=mirrored, turn=0.0, motion=True)
        assert torch.allclose(ours.mean, theirs.mean, atol=2e-3)
        assert torch.allclose(ours.std, theirs.std, atol=2e-3)
        assert torch.equal(ours.condition, theirs.condition)
    # 3 pixels are less than a latent column of 4.
    plain = raw.window(0, 0, 1, 1, mirrored=False, turn=0.0, motion=True)
    turned = raw.window(0, 0, 1, 1, mirrored=False, turn=3.5 / WIDTH, motion=True)
    assert torch.equal(turned.condition, roll_columns(plain.condition, 3))
    picture = torch.from_numpy(read_video(raw.folder / "clip0.mp4").frames[:1]).permute(0, 3, 1, 2).roll(3, -1)
    with torch.no_grad(), circular_padding(base.vae):
        assert torch.allclose(turned.mean, base.vae.encode(picture / 127.5 - 1).latent_dist.mean, atol=2e-3)
    assert torch.allclose(raw.text("a meadow"), encode_text(base.tokenizer, base.text_encoder, ["a meadow"])[0])


def test_training_without_a_cache(inside, tiny_base):
    section = {"kind": "adapter", "steps": 2, "batch": 1, "learning_rate": 1e-3, "cached": False, "random_flip": True}
    folder = train_model(tiny_params(tiny_base, training={"raw": section}), "raw")
    assert len(losses(folder)) == 2


def test_dropout_flip_and_timesteps(inside, tiny_base):
    base, cache = load_base(*tiny_base), Cache("outputs/tiny/cache")
    dropped = draw(cache, base, caption_dropout=1.0, motion_dropout=1.0)
    assert dropped.captions == [""] * 3
    assert dropped.condition.abs().max() == 0
    assert draw(cache, base).condition.abs().max() > 0.1
    assert draw(cache, base, motion_dropout=None).condition is None
    steps = torch.stack([draw(cache, base, step).timesteps for step in range(40)])
    assert steps.min() >= 0
    assert steps.max() < 1000
    gaps = steps.sort().values.diff()
    assert gaps.min() >= 332  # stratified: one in each third of the schedule, all as far apart
    assert gaps.max() <= 335
    assert abs(steps.float().mean() - 500) < 60  # spreads by 15
    flips = [draw(cache, base, step, random_flip=True) for step in range(6)]
    assert any(not torch.equal(f.latents, draw(cache, base, s).latents) for s, f in enumerate(flips))


@pytest.mark.parametrize("name", ["adapter", "lora"])
def test_gradient_checkpointing_and_accumulation_change_the_losses_by_rounding_only(inside, tiny_base, name):
    common = {"kind": name, "steps": 3, "learning_rate": 1e-2, "circular_padding": True}
    common |= {"rank": 2} if name == "lora" else {}
    found = {}
    for label, options in {
        "plain": {"batch": 4},
        "checkpointed": {"batch": 4, "gradient_checkpointing": True},
        "accumulated": {"batch": 1, "gradient_accumulation": 4},
    }.items():
        params = tiny_params(tiny_base, training={name: common | options})
        found[label] = losses(train_model(params, name))
    assert found["checkpointed"] == pytest.approx(found["plain"], abs=1e-6)
    assert found["accumulated"] == pytest.approx(found["plain"], abs=1e-5)


@pytest.mark.filterwarnings("error:While injecting")
@pytest.mark.parametrize("name", ["adapter", "lora"])
def test_validation_videos_show_the_training_and_do_not_change_it(inside, tiny_base, name):
    common = {"kind": name, "steps": 4, "batch": 1, "learning_rate": 1e-2} | ({"rank": 2} if name == "lora" else {})
    plain = losses(train_model(tiny_params(tiny_base, training={name: common}), name))
    validation = {"every": 2, "prompts": ["a meadow", "a moon"], "steps": 2}
    params = tiny_params(tiny_base, training={name: common | {"validation": validation}})
    folder = train_model(params, name, validation_videos)
    assert losses(folder) == plain
    videos = {
        path.relative_to(folder / "validation").as_posix(): read_video(path).frames for path in folder.rglob("*.mp4")
    }
    assert sorted(videos) == [f"step-00000{step}/prompt-{i}.mp4" for step in (2, 4) for i in (0, 1)]
    assert videos["step-000002/prompt-0.mp4"].shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert (videos["step-000002/prompt-0.mp4"] != videos["step-000004/prompt-0.mp4"]).any()
    with open(folder / "loss_by_timestep.csv", newline="") as file:
        curve = list(csv.DictReader(file))
    assert sum(int(row["samples"]) for row in curve) == 4
    weighted = sum(float(row["loss"]) * int(row["samples"]) for row in curve) / 4
    assert weighted == pytest.approx(sum(plain) / 4, rel=1e-5)


def test_loss_of_equations_9_and_10_by_hand():
    """4 x 8 latents: W is the cosine of each row's latitude, here 67.5 and 22.5 degrees north and south."""
    prediction, noise = torch.zeros(1, 1, 4, 8), torch.zeros(1, 1, 4, 8)
    prediction[0, 0, 0, 3], prediction[0, 0, 1, 5] = 2.0, -1.0  # errors in the rows at 67.5 and 22.5 degrees
    batch = Batch(noise, None, [""], noise, torch.tensor([3]))
    high, low = 0.38268343, 0.92387953  # cos 67.5, cos 22.5
    for kind, expected in {
        "paper": ((high * 2) ** 2 + low**2) / 32,
        "released": (high * 4 + low) / 32,
        "none": 5 / 32,
    }.items():
        found = Losses.of(prediction, batch, kind)
        assert found.mean.item() == pytest.approx(expected, rel=1e-6)
        assert found.each.tolist() == pytest.approx([expected], rel=1e-6)


def test_mirrored_flow_points_the_other_way():
    maps = torch.full((1, 3, 2, 4), 128, dtype=torch.uint8)
    maps[0, 0, 0, 0], maps[0, 1, 0, 0] = 255, 200  # top left moves right and down
    mirrored = mirror_maps(maps)
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
