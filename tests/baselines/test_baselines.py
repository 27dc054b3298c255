"""Recipes, prompt sets and generation on the tiny stack."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from baselines.cli import generate as generate_command
from baselines.generate import generate
from baselines.motion import Motions
from baselines.prompts import read_prompts, sample_seed
from baselines.recipes import read_recipe, write_recipes
from core.errors import PanobenchError
from core.files import sha256
from core.flow import decode_flow, encode_flow
from core.model.base import load_base
from core.motion import synthetic_flow
from core.params_schema import Video
from core.shards import Shard
from core.spherical import read_spherical, write_panorama
from core.video import read_video, write_video
from evaluation.manifest import read_manifest
from tests.released import adapter_checkpoint, kohya_lora, motion_state, sd_state, write_state
from tests.tiny import FRAMES, HEIGHT, WIDTH, exit_code_of, tiny_adapter, tiny_params

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workplace(tiny_base, tmp_path, monkeypatch) -> Path:
    """A folder with a trained LoRA and adapter (random ones) and two prompts."""
    from diffusers import StableDiffusionPipeline

    monkeypatch.chdir(tmp_path)
    models = Path("outputs/tiny/models")
    tiny_adapter().save_pretrained(models / "adapter")
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    generator = torch.Generator().manual_seed(0)
    layers = {
        f"{name}.lora_A.weight": torch.randn(2, 32, generator=generator),
        f"{name}.lora_B.weight": torch.randn(32, 2, generator=generator),
    }
    StableDiffusionPipeline.save_lora_weights(models / "lora", unet_lora_layers=layers)
    prompts = [{"id": name, "text": f"a {name}"} for name in ("road", "tower")]
    Path("prompts.yaml").write_text(yaml.safe_dump({"prompts": prompts}))
    return tmp_path


@pytest.fixture
def params(workplace, tiny_base):
    params = tiny_params(tiny_base)
    write_recipes(params)
    return params


def recipes(params) -> dict[str, str]:
    return {path.stem: path.read_text() for path in write_recipes(params)}


def test_only_recipes_of_the_methods_concerned_change(params, tiny_base):
    before = recipes(params)
    assert set(before) == {"a", "b", "d"}

    def changed(**sections) -> set[str]:
        after = recipes(tiny_params(tiny_base, **sections))
        return {name for name in before if before[name] != after[name]}

    methods = {name: method.model_dump() for name, method in params.methods.items()}
    assert changed(methods={"b": methods["b"] | {"lora_scale": 0.5}}) == {"b"}
    assert changed(methods={"d": methods["d"] | {"rotation": False}}) == {"d"}
    assert changed(methods={"d": methods["d"] | {"label": "another"}}) == set()
    assert changed(seed=5, generation={"steps": 9}) == set()
    history = Path("outputs/tiny/models/lora/history.csv")
    history.write_text("step,loss\n")
    (history.parent / "training.json").write_text('{"seconds": 3}')
    assert changed() == set()
    weights = next(Path("outputs/tiny/models/lora").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b" ")
    assert changed() == {"b"}


def test_recipes_name_what_is_missing(params, tiny_base):
    shutil.rmtree("outputs/tiny/models/lora")
    with pytest.raises(PanobenchError, match=r"models/lora: these weights are missing; run `panobench train lora`"):
        write_recipes(params)
    with pytest.raises(PanobenchError, match="methods does not define 'dd'; did you mean 'd'"):
        read_recipe(params, "dd")
    shutil.rmtree("outputs/tiny/recipes")
    with pytest.raises(PanobenchError, match=r"add 'b' to run\.methods and run `panobench recipes`"):
        read_recipe(tiny_params(tiny_base, run={"methods": ["a"]}), "b")


def test_every_method_generates_its_own_videos_from_the_same_seeds(params):
    made = {}
    for method in ("a", "b", "d"):
        folder = generate(params, method)
        rows = read_manifest(folder / "manifest.jsonl")
        assert [row.id for row in rows] == ["road-0", "tower-0"]
        for row in rows:
            video = read_video(folder / row.path)
            assert video.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
            assert (row.frames, row.height, row.width, row.fps) == (FRAMES, HEIGHT, WIDTH, video.fps)
            assert row.sha256 == sha256(folder / row.path)
            assert row.prompt == f"a {row.prompt_id}"  # without the trigger
        assert sorted(p.name for p in folder.iterdir()) == ["manifest.jsonl", "road-0.mp4", "tower-0.mp4"]
        made[method] = rows
    assert not Path("outputs/tiny/partial/generate/a").exists()
    for rows in zip(*made.values(), strict=True):
        assert len({row.seed for row in rows}) == 1
        assert len({row.sha256 for row in rows}) == 3


def generate_until_killed(params) -> None:
    """Killed with SIGKILL before the first video of the second batch is in place."""
    import baselines.generate as module

    write = module.write_panorama

    def die(path, *rest):
        if path.stem == "tower-0":
            path.with_name(".tower-0.1.tmp.mp4").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, *rest)

    module.write_panorama = die
    generate(params, "d")


def test_killed_generation_keeps_finished_videos_and_ends_with_the_same_bits(params, monkeypatch):
    import baselines.generate as module

    expected = {row.id: row.sha256 for row in read_manifest(generate(params, "d") / "manifest.jsonl")}
    shutil.rmtree("outputs/tiny/videos")
    assert exit_code_of(generate_until_killed, params) == -signal.SIGKILL
    assert not Path("outputs/tiny/videos/d").exists()
    kept = Path("outputs/tiny/partial/generate/d/road-0.mp4")
    stamp = kept.stat().st_mtime_ns
    made = []
    monkeypatch.setattr(
        module, "write_panorama", lambda path, *rest: (made.append(path.stem), write_panorama(path, *rest))
    )
    folder = generate(params, "d")
    assert made == ["tower-0"]
    assert {row.id: row.sha256 for row in read_manifest(folder / "manifest.jsonl")} == expected
    assert (folder / "road-0.mp4").stat().st_mtime_ns == stamp
    assert sorted(p.suffix for p in folder.iterdir()) == [".jsonl", ".mp4", ".mp4"]


def test_finished_videos_are_not_made_again_and_changed_settings_make_new_ones(params, tiny_base, monkeypatch):
    import baselines.generate as module

    folder = generate(params, "a")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_run", None)  # would fail if called
        assert generate(params, "a") == folder
    before = (folder / "road-0.mp4").read_bytes()
    (folder / "road-0.mp4").write_bytes(b"damaged")
    generate(params, "a")
    assert (folder / "road-0.mp4").read_bytes() == before
    rows = read_manifest(generate(tiny_params(tiny_base, generation={"steps": 3}), "a") / "manifest.jsonl")
    assert rows[0].provenance["generator"]["steps"] == 3
    assert (folder / "road-0.mp4").read_bytes() != before


@pytest.mark.slow
def test_three_processes_make_the_same_files_as_one(params, tiny_base):
    """Real processes, started at once, each told its share by another launcher's variables."""
    whole = tiny_params(tiny_base, generation={"samples": 2})
    expected = {path.name: path.read_bytes() for path in generate(whole, "d").iterdir()}
    assert len(expected) == 5
    shutil.rmtree("outputs/tiny/videos")
    Path("params.yaml").write_text(yaml.safe_dump(whole.model_dump(mode="json")), encoding="utf-8")
    launched = [
        {"RANK": "0", "WORLD_SIZE": "3"},
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "3"},
        {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "3"},
    ]
    command = [sys.executable, "-m", "panobench", "generate", "d"]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    running = [
        subprocess.Popen(command, env=common | own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for own in launched
    ]
    said = []
    for process in running:
        out, error = process.communicate(timeout=200)
        assert process.returncode == 0, error[-2000:]
        said.append(out)
    assert any("wrote outputs/tiny/videos/d" in text for text in said)
    assert {path.name: path.read_bytes() for path in Path("outputs/tiny/videos/d").iterdir()} == expected
    assert not Path("outputs/tiny/partial/generate/d").exists()


def test_a_shard_leaves_the_rest_to_others(params):
    expected = {path.name: path.read_bytes() for path in generate(params, "a").iterdir()}
    shutil.rmtree("outputs/tiny/videos")
    partial = Path("outputs/tiny/partial/generate/a")
    assert generate(params, "a", Shard(1, 2)) is None
    assert sorted(path.name for path in partial.glob("*.mp4")) == ["tower-0.mp4"]
    assert generate(params, "a", Shard(1, 2)) is None  # nothing left to do, nothing moved
    folder = generate(params, "a", Shard(0, 2))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert generate(params, "a", Shard(1, 2)) == folder


def test_videos_are_marked_as_spherical_and_enlarged_on_request(params, tiny_base):
    small = generate(params, "a") / "road-0.mp4"
    assert read_spherical(small).v1 == read_spherical(small).v2 == "equirectangular"
    size = read_video(small).frames.shape
    Path("params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")), encoding="utf-8")
    done = CliRunner().invoke(generate_command, ["a", "--upscale", "2"])
    assert done.exit_code == 0, done.output
    [row, _] = read_manifest(small.with_name("manifest.jsonl"))
    assert (row.height, row.width) == (2 * HEIGHT, 2 * WIDTH)
    large = read_video(small).frames
    assert large.shape == (size[0], 2 * size[1], 2 * size[2], 3)
    again = generate(tiny_params(tiny_base, generation={"upscale": 2}), "a")
    assert sha256(again / "road-0.mp4") == row.sha256


def test_motion_is_a_flow_video_a_tensor_or_a_name(params, tiny_base):
    flow = synthetic_flow("yaw-left@3", FRAMES, HEIGHT, WIDTH)
    Path("flows").mkdir()
    Path("flows/flow.json").write_text(json.dumps({"encoding": "panobench"}))
    write_video("flows/flow.mp4", encode_flow(flow, "panobench"), 8, lossless_rgb=True)
    np.save("flow.npy", flow)
    plain = (generate(params, "d") / "road-0.mp4").read_bytes()
    made = {}
    for motion in ("flows/flow.mp4", "flow.npy", "yaw-left@3", "sky-only"):
        folder = generate(tiny_params(tiny_base, generation={"motion": motion}), "d")
        made[motion] = (folder / "road-0.mp4").read_bytes()
    assert made["flows/flow.mp4"] == made["flow.npy"] == made["yaw-left@3"] != plain
    assert made["sky-only"] not in (plain, made["flow.npy"])
    write_video("flows/short.mp4", encode_flow(flow, "panobench")[:2], 8, lossless_rgb=True)
    with pytest.raises(PanobenchError, match="at least 4 frames"):
        generate(tiny_params(tiny_base, generation={"motion": "flows/short.mp4"}), "d")
    with pytest.raises(PanobenchError, match="unknown motion 'yaw-lefd'; did you mean 'yaw-left'"):
        generate(tiny_params(tiny_base, generation={"motion": "yaw-lefd"}), "d")
    # Methods without an adapter have no motion condition, so that another motion makes none of their videos again.
    before = [row.provenance["hash"] for row in read_manifest(generate(params, "a") / "manifest.jsonl")]
    moved = generate(tiny_params(tiny_base, generation={"motion": "sky-only"}), "a")
    assert [row.provenance["hash"] for row in read_manifest(moved / "manifest.jsonl")] == before


def test_a_prompt_may_have_its_own_motion(params, tiny_base):
    prompts = [{"id": "road", "text": "a road"}, {"id": "tower", "text": "a tower", "motion": "ground-only"}]
    plain = {path.stem: path.read_bytes() for path in generate(params, "d").glob("*.mp4")}
    Path("prompts.yaml").write_text(yaml.safe_dump({"prompts": prompts}))
    folder = generate(tiny_params(tiny_base, generation={"batch": 2}), "d")
    rows = read_manifest(folder / "manifest.jsonl")
    assert [row.provenance["generator"]["motion"] for row in rows] == [None, "ground-only"]
    Path("params.yaml").write_text(yaml.safe_dump(tiny_params(tiny_base).model_dump(mode="json")), encoding="utf-8")
    done = CliRunner().invoke(generate_command, ["d", "--motion", "still"])
    assert done.exit_code == 0, done.output
    rows = read_manifest(folder / "manifest.jsonl")
    assert [row.provenance["generator"]["motion"] for row in rows] == ["still", "ground-only"]
    assert (folder / "road-0.mp4").read_bytes() != plain["road-0"]  # standing still is another condition than none


@pytest.mark.parametrize("encoding", ["panobench", "released"])
def test_a_stored_flow_video_becomes_what_the_adapter_was_taught(tmp_path, encoding):
    """Every fourth map, in the adapter's encoding whatever that of the file is; u and v keep their signs."""
    video = Video(height=32, width=64, frames=3, fps=8.0)
    flow = np.zeros((9, 2, 32, 64), np.float32)
    flow[:, 0], flow[:, 1] = np.arange(1, 10)[:, None, None], -2.0
    adapter = {"encoding": encoding, "range_px": 25.0, "stride": 4}
    conditions = []
    for stored in ("panobench", "released"):
        folder = tmp_path / stored
        folder.mkdir()
        (folder / "flow.json").write_text(json.dumps({"encoding": stored}))
        write_video(folder / "a.mp4", encode_flow(flow, stored), 8, lossless_rgb=True)
        condition = Motions(video, adapter).of([(folder / "a.mp4").as_posix(), None])
        assert condition.shape == (2, 3, 3, 32, 64)
        assert condition[1].abs().max() == 0
        conditions.append(condition[0])
        maps = ((condition[0] + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        if encoding == "released":
            found = decode_flow(maps, "released")
            assert np.abs(found[:, 0] - np.array([1, 5, 9])[:, None, None]).max() < 0.3
            assert np.abs(found[:, 1] + 2).max() < 0.3
        else:
            u, v = condition[0][:, 0] * 25, condition[0][:, 1] * 25
            assert (u - torch.tensor([1.0, 5.0, 9.0])[:, None, None]).abs().max() < 0.3
            assert (v + 2).abs().max() < 0.3
    assert (conditions[0] - conditions[1]).abs().max() < 0.04
    assert Motions(video, None).of(["still"]) is None


def test_recipes_say_how_the_adapters_motion_is_read(params, tiny_base):
    adapter = write_state(Path("360dvd.ckpt"), adapter_checkpoint(tiny_adapter())).as_posix()
    methods = {
        name: {"label": name, "adapter": path, "preset": preset}
        for name, path, preset in (
            ("ours", "adapter", "paper"),
            ("theirs", adapter, "paper"),
            ("as", adapter, "released"),
        )
    }
    params = tiny_params(tiny_base, methods=methods, run={"methods": list(methods)})
    write_recipes(params)
    found = [[read_recipe(params, name)["adapter"][key] for key in ("encoding", "stride")] for name in methods]
    assert found == [["panobench", 1], ["released", 4], ["released", 1]]


def test_seeds_depend_on_prompt_and_index_only():
    seeds = [sample_seed(360, prompt, i) for prompt in ("a", "b") for i in range(2)]
    assert len(set(seeds)) == 4
    assert seeds[0] == sample_seed(360, "a", 0)
    assert all(0 <= seed < 2**48 for seed in seeds)


@pytest.mark.parametrize("name", ["nano", "paper"])
def test_shipped_prompt_sets_read(name):
    prompts = read_prompts(ROOT / f"baselines/prompts/{name}.yaml")
    assert len(prompts.prompts) == {"nano": 12, "paper": 9}[name]
    assert prompts.negative_prompt.startswith("blur, haze, deformed iris") == (name == "paper")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prompts: []", "expected a list"),
        ("prompts: [{id: a}]", "prompt 1 must have 'id' and 'text'"),
        ("prompts: [{id: A b, text: x}]", "lower-case"),
        ("prompts: [{id: a, text: ' '}]", "'a' has an empty text"),
        ("prompts: [{id: a, text: x}, {id: a, text: y}]", "'a' is there twice"),
        ("prompts: [{id: a, text: x}]\nnegative: y", "'negative'"),
        ("prompts: [", "not a readable YAML"),
    ],
)
def test_bad_prompt_files_name_the_entry(tmp_path, content, message):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(PanobenchError, match=message):
        read_prompts(tmp_path / "p.yaml")


def test_manifest_is_json_lines_with_provenance(params):
    line = (generate(params, "b") / "manifest.jsonl").read_text().splitlines()[0]
    provenance = json.loads(line)["provenance"]
    assert {"hash", "recipe_sha256", "git_commit", "generator"} <= set(provenance)
    assert provenance["generator"]["guidance_scale"] == 7.5


def test_command_line_answers_help():
    assert "METHOD" in CliRunner().invoke(generate_command, ["--help"]).output


def test_released_files_take_the_place_of_folders(workplace, tiny_base):
    """Every weight of a profile as a published file: the same videos as from the folders they were written from."""
    base = load_base(*tiny_base)
    weights = Path("weights")
    shutil.copytree(tiny_base[0], weights / "configs")
    shutil.copytree(tiny_base[1], weights / "configs/motion_adapter")
    schedule = weights / "configs/scheduler/scheduler_config.json"  # single files are sampled with AnimateDiff's own
    schedule.write_text(schedule.read_text().replace('"set_alpha_to_one": false', '"set_alpha_to_one": true'))
    sd = write_state(weights / "sd.safetensors", sd_state(base)).as_posix()
    motion = write_state(weights / "mm.ckpt", motion_state(base)).as_posix()
    adapter = write_state(weights / "360dvd.ckpt", adapter_checkpoint(tiny_adapter())).as_posix()
    lora = write_state(weights / "lora.safetensors", kohya_lora(base, 1.0)[0]).as_posix()
    params = tiny_params((weights / "configs", tiny_base[1]))
    write_recipes(params)
    folders = {method: generate(params, method) / "road-0.mp4" for method in ("a", "d")}
    expected = {method: path.read_bytes() for method, path in folders.items()}
    files = tiny_params(
        (sd, motion),
        base={"configs": "weights/configs"},
        run={"models": [], "methods": ["a", "d", "kohya", "personal"]},
        methods={
            "d": {"label": "D", "adapter": adapter, "rotation": True, "circular_padding": True},
            "kohya": {"label": "B", "lora": lora, "lora_scale": 0.7, "trigger": "360"},
            "personal": {"label": "P", "personalised": sd},
        },
    )
    assert files.weights()["methods.d.adapter"] == adapter
    write_recipes(files)
    made = {method: (generate(files, method) / "road-0.mp4").read_bytes() for method in files.run.methods}
    assert made["a"] == expected["a"] == made["personal"]
    assert made["d"] == expected["d"]
    assert made["kohya"] != expected["a"]
    recipe = read_recipe(files, "kohya")
    assert recipe["lora"] == {"path": lora, "sha256": sha256(lora), "scale": 0.7, "trigger": "360"}
    Path(lora).unlink()
    with pytest.raises(PanobenchError, match=r"weights/lora\.safetensors: these weights are missing; put them there"):
        write_recipes(files)
