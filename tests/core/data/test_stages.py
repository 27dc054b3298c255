"""Captions, clips CSV, flow and encode stages."""

import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.caption import caption_stage
from core.data.clips import YAWS, Clip, read_clips, write_clips
from core.data.encode import encode_video
from core.data.flowstage import flow_stage
from core.data.fusion import fuse_captions
from core.data.work import ALL, Step
from core.errors import PanobenchError
from core.flow import decode_flow
from core.model.base import decode_latents, load_part
from core.model.enhance import circular_padding
from core.nano.captions import caption, shown_in
from core.nano.scene import sample_scene
from core.params_schema import Caption
from core.shards import Shard
from core.sphere import view_directions
from core.train.cache import Cache
from core.video import read_video
from tests.tiny import FRAMES, HEIGHT, WIDTH, encode_tiny, exit_code_of, tiny_params, write_tiny_clips

NOUNS = ("desert", "dune", "meadow", "field", "snow", "plain", "water", "lake", "sea", "road", "mountain")
THINGS = r"(red|orange|yellow|green|blue|purple|white) (?:hot air )?(ball|balloon|tower)\b"


def views_of(index: int) -> list[str]:
    scene, rng = sample_scene(11, "train", index), np.random.default_rng(index)
    rays = [view_directions(32, 32, np.pi / 2, np.deg2rad(yaw), 0.0, 0.0).numpy() for yaw in (0, 90, 180, 270)]
    return [caption(scene, shown_in(scene, ray, 0), rng) for ray in rays]


def test_every_object_and_terrain_word_of_four_views_is_in_the_fused_caption():
    for index in range(60):
        views = views_of(index)
        fused = fuse_captions(views)
        for view in views:
            for noun in NOUNS:
                assert not re.search(rf"\b{noun}s?\b", view) or re.search(rf"\b{noun}s?\b", fused), (views, fused)
            for thing in re.findall(THINGS, view):
                assert re.search(rf"{thing[0]} (hot air )?{thing[1]}\b", fused), (views, fused)


def test_fused_captions_say_a_thing_once_and_do_not_contradict_themselves():
    times = ("dawn|sunrise|early morning", "sunny|noon|daylight", "sunset|evening", "night")
    for index in range(60):
        fused = fuse_captions(views_of(index))
        assert sum(bool(re.search(words, fused)) for words in times) == 1, fused
        assert not ("clear sky" in fused and "cloud" in fused), fused
        things = re.findall(THINGS, fused)
        assert len(things) == len(set(things)), fused
        for word in ("mountains", "camera moves", "moving forward", "sky,"):
            assert fused.count(word) <= 1, fused


@pytest.mark.parametrize(
    ("views", "fused"),
    [
        (["a desert with sand dunes, at noon"] * 4, "a desert with sand dunes, at noon"),
        (
            ["a sandy desert", "a desert with sand dunes", "the sky, clear sky", ""],
            "a desert with sand dunes, clear sky",
        ),
        (
            ["a red ball on a green meadow, at night", "a blue tower and a red ball on a green meadow, at night"],
            "a red ball and a blue tower on a green meadow, at night",
        ),
        (
            ["the sea, clear sky, at sunset", "the sea, cloudy sky, in the evening", "the sea, at noon", "the sea"],
            "the sea, cloudy sky, at sunset",
        ),
        (["a photo of a street next to a forest.", "a panoramic view of a forest"], "a street next to a forest"),
        (["a balloon in the sky, at dawn", "a hot air balloon over a lake"], "a hot air balloon over a lake, at dawn"),
        (["the sky", "the sky", "the sky", "the sky"], "the sky"),
    ],
)
def test_fusion_of_known_cases(views, fused):
    assert fuse_captions(views) == fused
    assert fuse_captions(views) == fused


def test_nothing_to_fuse_is_refused():
    with pytest.raises(PanobenchError, match="no view has a caption"):
        fuse_captions(["", " "])


def test_caption_stage_and_its_ablation(tmp_path):
    write_tiny_clips(tmp_path, clips=2)
    rules = Caption(fusion="rules")
    assert caption_stage(tmp_path / "clips.csv", tmp_path / "out/clips.csv", rules, tmp_path / "partial")
    assert [clip.name for clip in read_clips(tmp_path / "out/clips.csv")] == [
        "a red ball on a green meadow, at noon"
    ] * 2
    whole = Caption(fusion="rules", whole_erp=True)
    assert caption_stage(tmp_path / "clips.csv", tmp_path / "out/clips.csv", whole, tmp_path / "partial")
    clips = read_clips(tmp_path / "out/clips.csv")
    assert [(clip.name, clip.columns["whole"]) for clip in clips] == [("a meadow", "a meadow")] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("videoid,caption\na,b\n", "no column 'name'"),
        ("videoid,name\n", "holds no clips"),
        ("videoid,name\na,b\na,c\n", "row 3: videoid a is there twice"),
        ("videoid,name\na,\n", "row 2: clip a has an empty caption"),
        ("videoid,name\n../a,b\n", "cannot be a file name"),
        ("videoid,name\na,b,c\n", "row 2 does not have 2 fields"),
        ("videoid,name\na\n", "row 2 does not have 2 fields"),
        ('videoid,name\na,"b\n', "not a readable CSV"),
    ],
)
def test_bad_clips_csv_is_refused(tmp_path, text, message):
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(PanobenchError, match=message):
        read_clips(tmp_path / "clips.csv")


def test_clips_round_trip_and_webvid_style_captions(tmp_path):
    clips = [Clip("a b", 'a "quoted", long caption', {"yaw_0": "x, y"}), Clip("é", "ü", {"yaw_0": ""})]
    write_clips(tmp_path / "clips.csv", clips, ["yaw_0"])
    assert read_clips(tmp_path / "clips.csv") == clips
    with pytest.raises(PanobenchError, match="clip é has no 'yaw_0'"):
        clips[1].column("yaw_0", "x")
    with pytest.raises(PanobenchError, match="no such clips CSV"):
        read_clips(tmp_path / "none.csv")


def test_flow_maps_point_where_the_picture_moves_and_are_lossless(tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = tiny_params(tiny_base)
    encode_tiny(params)
    for number in range(3):
        maps = read_video(f"outputs/tiny/flows/clip{number}.mp4").frames
        assert len(maps) == FRAMES + 2
        assert (maps[-1] == maps[-2]).all()
        u, v = decode_flow(maps).transpose(1, 0, 2, 3)
        assert np.median(u) == pytest.approx(2, abs=0.3)  # the tiny clips drift by 2 px a frame
        assert np.median(np.abs(v)) < 0.3


def test_latents_decode_to_the_clip_they_were_made_of(tiny_base, tmp_path, monkeypatch):
    """The cache holds the VAE's own posterior: same as encoding the frame directly, batch and shard notwithstanding."""
    monkeypatch.chdir(tmp_path)
    params = tiny_params(tiny_base, encode={"mirror": True})
    cache = Cache(encode_tiny(params))
    vae = load_part(tiny_base[0], "vae")
    frame = read_video("outputs/tiny/dataset/train/videos/clip1.mp4").frames[3]
    pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad(), circular_padding(vae):
        expected = vae.encode(pixels).latent_dist.mean
        mirrored = vae.encode(pixels.flip(-1)).latent_dist.mean
        assert decode_latents(vae, expected).shape == (1, 3, HEIGHT, WIDTH)
    assert torch.allclose(cache.latents(1, 3, 1)[0], expected, atol=2e-3)
    assert torch.allclose(cache.latents(1, 3, 1, mirrored=True)[0], mirrored, atol=2e-3)


def test_circular_encoding_has_no_seam(tiny_base):
    """A turned picture gives turned latents, at the seam too, in any batch."""
    vae = load_part(tiny_base[0], "vae")
    frames = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    mean, _ = encode_video(vae, frames, 2, circular=True)
    turned, _ = encode_video(vae, np.roll(frames, 12, 2), 3, circular=True)
    assert torch.allclose(turned.float(), mean.float().roll(3, -1), atol=2e-3)
    plain, _ = encode_video(vae, frames, 2, circular=False)
    assert (plain - mean).abs().amax((0, 1, 2))[5:10].max() < (plain - mean).abs().amax((0, 1, 2))[[0, -1]].max()


def encode_until_killed(*arguments) -> None:
    """Killed with SIGKILL after the first of the shards is in place."""
    import core.data.encode as module

    encode = module.encode_video

    def die(vae, frames, batch, circular):
        if Path("outputs/tiny/partial/encode/clips-00000.safetensors").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(vae, frames, batch, circular)

    module._CLIPS_PER_SHARD = 1
    module.encode_video = die
    module.encode_stage(*arguments)


def test_killed_encode_goes_on_and_gives_the_same_bytes(tiny_base, tmp_path, monkeypatch):
    import core.data.encode as module

    monkeypatch.setattr(module, "_CLIPS_PER_SHARD", 1)
    params = tiny_params(tiny_base)
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    whole = {path.name: path.read_bytes() for path in encode_tiny(params).iterdir()}
    assert sorted(whole) == [*(f"clips-0000{i}.safetensors" for i in range(3)), "index.json", "text.safetensors"]
    shutil.copytree(tmp_path / "whole/outputs", tmp_path / "killed/outputs")
    monkeypatch.chdir(tmp_path / "killed")
    shutil.rmtree("outputs/tiny/cache")
    out = params.outputs
    arguments = (
        params,
        out / "dataset/train/videos",
        out / "captions/clips.csv",
        out / "flows",
        out / "cache",
        out / "partial/encode",
    )
    assert exit_code_of(encode_until_killed, *arguments) == -signal.SIGKILL
    assert not (out / "cache").exists()
    stamp = (out / "partial/encode/clips-00000.safetensors").stat().st_mtime_ns
    module.encode_stage(*arguments)
    assert (out / "cache/clips-00000.safetensors").stat().st_mtime_ns == stamp
    assert {path.name: path.read_bytes() for path in (out / "cache").iterdir()} == whole
    assert not (out / "partial/encode").exists()


def test_encode_names_a_missing_video_and_a_wrong_size(tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PanobenchError, match=r"clip0\.mp4: 64 x 32 pixels, but .* are 128 x 64"):
        encode_tiny(tiny_params(tiny_base, video={"height": 64, "width": 128}))
    Path("outputs/tiny/dataset/train/videos/clip1.mp4").unlink()
    flow = tiny_params(tiny_base).flow
    with pytest.raises(PanobenchError, match=r"clip1\.mp4: the clips CSV names this file, and it is missing"):
        flow_stage(Path("outputs/tiny/dataset/train/clips.csv"), Path("f"), Path("p"), flow)


def test_a_step_keeps_its_own_files_drops_others_and_is_done_once(tmp_path):
    made = []

    def run(inputs, items="abc", fail_at=None, shard=ALL):
        def make(folder, item):
            if item == fail_at:
                raise KeyboardInterrupt
            (folder / f".{item}.1.tmp.txt").write_text("half")
            (folder / f"{item}.txt").write_text("x")
            made.append(item)

        step = Step(
            "test", "item", tmp_path / "partial", tmp_path / "final", inputs, items,
            lambda folder, item: folder / f"{item}.txt", make,
        )  # fmt: skip
        return step.run(shard)

    for inputs, fail_at in (({"a": 1}, "b"), ({"a": 1}, "c"), ({"a": 2}, "b")):
        with pytest.raises(KeyboardInterrupt):
            run(inputs, fail_at=fail_at)
    assert made == ["a", "b", "a"]
    assert not run({"a": 2}, shard=Shard(1, 2))
    assert not (tmp_path / "final").exists()
    assert run({"a": 2}, shard=Shard(0, 2))
    assert made == ["a", "b", "a", "b", "c"]
    assert sorted(path.name for path in (tmp_path / "final").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    assert not (tmp_path / "partial").exists()
    assert run({"a": 2}, shard=Shard(1, 2))
    assert len(made) == 5
    (tmp_path / "final/b.txt").unlink()
    assert run({"a": 2})
    assert made[5:] == ["a", "b", "c"]


def test_view_columns_are_what_filming_writes():
    from core.data.film import COLUMNS

    assert set(YAWS) <= set(COLUMNS)
    assert "whole" in COLUMNS
