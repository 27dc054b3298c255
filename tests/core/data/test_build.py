"""Raw footage to a training set: what is taken, what is cut, what is rejected and why; and that it trains."""

import csv
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from core.data.cli import data
from core.data.clips import read_clips
from core.data.existing import find_set
from core.data.footage import Timing, iter_frames, measure_timing
from core.data.probe import probe_file
from core.data.projection import HEIGHT, WIDTH, judge
from core.data.quality import flags_of, near_duplicates, perceptual_hash, signature
from core.data.shots import Shot, look_through, shots_of
from core.data.sources import read_sources
from core.data.split import SplitSettings, choose_clips, held_out_sources
from core.sphere import erp_to_cubemap
from core.spherical import add_spherical
from core.train.run import train_model
from core.video import read_video, write_video
from tests.footage import FPS, SCENES, erp, perspective, write_footage
from tests.tiny import tiny_params, write_tiny_blip


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage") / "raw"
    return folder, write_footage(folder)


def small(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames])


def sphere_of(photo: np.ndarray, scale: float) -> np.ndarray:
    """A panorama `(1,256,512,3)` with the detail of a photograph, seamless: three planes of it, mirrored, blended."""
    from core.sphere import erp_directions

    rays = erp_directions(256, 512).numpy()
    share = np.abs(rays) ** 4
    share /= share.sum(-1, keepdims=True)
    height, width = photo.shape[:2]
    total = np.zeros((256, 512, 3))
    for axis in range(3):
        x, y = (np.abs((rays[..., (axis + k) % 3] * scale + 0.3) % 2 - 1) for k in (1, 2))
        place = [(part * (size - 1)).astype(np.float32) for part, size in ((x, width), (y, height))]
        total += share[..., axis : axis + 1] * cv2.remap(photo, *place, cv2.INTER_LINEAR)
    return total.clip(0, 255).astype(np.uint8)[None]


@pytest.fixture(scope="module")
def photo():
    from sklearn.datasets import load_sample_image

    return np.array(load_sample_image("china.jpg"))


# --- full panorama or not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
def test_panoramas_are_taken(scene):
    assert judge(small(erp(scene, 2)), 2.0).reason == ""


@pytest.mark.parametrize("scene", SCENES[:4])
def test_perspective_films_are_not(scene):
    assert re.search("perspective|no full sphere", judge(small(perspective(scene, 2)), 2.0).reason)


@pytest.mark.parametrize("scale", [0.6, 1.2])
@pytest.mark.parametrize("spoilt", ["", "exposure", "noise", "tripod", "logo", "sky", "stitch"])
def test_real_panoramas_have_faults(photo, scale, spoilt):
    """Photographic detail with what real footage has: none of it makes a panorama a perspective picture."""
    frame = sphere_of(photo, scale)[0].astype(np.float64)
    rng = np.random.default_rng(0)
    if spoilt == "exposure":  # two lenses, a third of a stop apart, meeting at the seam and in the middle
        frame[:, 256:] *= 1.25
    elif spoilt == "noise":
        frame += rng.normal(0, 8, frame.shape)
    elif spoilt == "tripod":
        frame[-20:] = 0
    elif spoilt == "logo":
        frame[-24:] = (240, 240, 240)
        frame[-14:-8, ::40] = 20
    elif spoilt == "sky":
        frame[:90] = (120, 170, 230)
    elif spoilt == "stitch":  # the last column is broken, the halves do not meet by a pixel
        frame[:, -1] = 128
        frame[:, 256:] = np.roll(frame[:, 256:], 1, axis=0)
    assert judge(small(frame.clip(0, 255).astype(np.uint8)[None]), 2.0).reason == ""


def test_a_hard_horizon_is_no_cube_map(photo):
    frame = sphere_of(photo, 0.6).astype(np.float64)
    frame[:, :128] = 0.3 * frame[:, :128] + 170
    frame[:, 128:] *= 0.4
    frame[:, :, [85, 170, 341, 426]] += 60  # poles of street lamps, a third around from each other
    assert judge(small(frame.clip(0, 255).astype(np.uint8)), 2.0).reason == ""


def test_what_is_no_full_panorama_is_named(photo):
    panorama = erp(9, 2)
    real = sphere_of(photo, 1.2)
    row, column = np.mgrid[:128, :256]
    circles = (np.hypot(column % 128 - 63.5, row - 63.5) < 61)[None, ..., None]
    cube = erp_to_cubemap(torch.from_numpy(erp(3, 1)).permute(0, 3, 1, 2).float(), 64).permute(0, 1, 3, 4, 2).numpy()
    faces = cube[0].clip(0, 255).astype(np.uint8)
    strip = np.concatenate([np.concatenate(list(faces[k : k + 3]), axis=1) for k in (0, 3)])[None]
    wide = photo[50:370][None]
    cases = {
        "not 2:1": (photo[None], photo.shape[1] / photo.shape[0]),
        "perspective": (wide, 2.0),
        "perspective or partial": (real[:, :, 50:450], 2.0),
        "no full sphere": (real[:, 64:192], 2.0),
        "stereo top-bottom": (np.concatenate([panorama, panorama], axis=1), 1.0),
        "stereo left-right": (np.concatenate([panorama, np.roll(panorama, 1, 2)], axis=2), 4.0),
        "letterboxed: black bars at the top": (np.pad(panorama, ((0, 0), (16, 16), (0, 0), (0, 0))), 1.6),
        "letterboxed: black bars at the left": (np.pad(panorama, ((0, 0), (0, 0), (30, 30), (0, 0))), 2.47),
        "fisheye: two": (panorama * circles, 2.0),
        "fisheye: a circle": (panorama[:, :, :128] * circles[:, :, :128], 1.0),
        "cubemap": (strip, 1.5),
        "covers only part": (real * (np.arange(256) < 200)[None, :, None, None], 2.0),
    }
    for word, (frames, aspect) in cases.items():
        reason = judge(small(frames.astype(np.uint8)), aspect).reason
        assert word in reason, (word, reason)
    assert "mesh" in judge(small(panorama), 2.0, projection="mesh").reason
    assert "top-bottom" in judge(small(panorama), 2.0, stereo="top-bottom").reason


@pytest.mark.parametrize("kind", ["fog", "wall", "snow", "dark"])
def test_pictures_of_nearly_nothing_are_no_panoramas_unless_marked(kind):
    rng, film = np.random.default_rng(0), perspective(3, 2).astype(np.float64)
    plain = {
        "fog": 0.04 * (film - 128) + 190,
        "wall": np.linspace(225, 238, 256)[None, None, :, None] + 0 * film,
        "snow": np.linspace(210, 240, 128)[None, :, None, None] + 0 * film,
        "dark": 18 + 0 * film,
    }[kind]
    frames = small((plain + rng.normal(0, 1.5, film.shape)).clip(0, 255).astype(np.uint8))
    verdict = judge(frames, 2.0)
    assert verdict.reason == "too little structure to tell whether it is a full panorama"
    assert "mark it as equirectangular" in verdict.hint
    assert "structure" not in judge(frames, 2.0, projection="equirectangular").reason


def test_half_a_sphere_on_black_is_no_stereo_pair():
    half = erp(9, 2) * ((np.arange(256) >= 64) & (np.arange(256) < 192))[None, None, :, None]
    assert "letterboxed: black bars at the left and right" in judge(small(half), 2.0).reason


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("stream.ts", "libx264", "yuv420p"),
        ("ten bits.mp4", "libx265", "yuv420p10le"),
        ("ünï 全景.webm", "libvpx-vp9", "yuv420p"),
        ("odd.mov", "prores_ks", "yuv422p10le"),
    ],
)
def test_any_container_and_codec_is_read_from_any_place(tmp_path, name, codec, pixels):
    import av

    frames = erp(9, 20)
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.height, stream.width, stream.pix_fmt = 128, 256, pixels
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)))
        out.mux(stream.encode())
    source, _ = probe_file(tmp_path, tmp_path / name, 64, 12)
    assert (source.reason, source.frames) == ("", 20)
    for start in (0, 1, 13, 19):
        [frame] = iter_frames(tmp_path / name, source.timing, start, start + 1)
        nearest = np.abs(frames.astype(int) - frame.astype(int)).mean(axis=(1, 2, 3)).argmin()
        assert nearest == start


def test_spherical_metadata_are_read(tmp_path):
    write_video(tmp_path / "a.mp4", erp(0, 2), FPS)
    add_spherical(tmp_path / "a.mp4")
    source, picture = probe_file(tmp_path, tmp_path / "a.mp4")
    assert (source.projection, source.stereo, source.reason) == ("equirectangular", "mono", "")
    assert picture is not None
    assert picture.shape == (128, 256, 3)


# --- time ------------------------------------------------------------------------------------------------------------


def test_frames_of_a_variable_rate_are_those_that_are_shown(footage):
    """Shown for 33, 33 and 66 ms: at the constant rate every third picture is there twice."""
    path = footage[0] / "phone.mp4"
    timing = measure_timing(path)
    assert timing == Timing(31, 30, True, "")
    shown = list(iter_frames(path, timing))
    assert len(shown) == 31
    same = [int(np.abs(a.astype(int) - b).max() <= 2) for a, b in pairwise(shown)]
    assert sum(same) == 7
    assert same[:8] == [0, 0, 1, 0, 0, 0, 1, 0]
    later = list(iter_frames(path, timing, 11, 15))
    assert all((a == b).all() for a, b in zip(later, shown[11:15], strict=True))


def test_any_stretch_is_the_same_as_in_one_pass(footage):
    path = footage[0] / "long.mp4"
    timing = measure_timing(path)
    assert timing == Timing(84, FPS, False, "")
    whole = read_video(path).frames
    for start, stop in ((0, 3), (40, 44), (80, 84)):
        found = np.stack(list(iter_frames(path, timing, start, stop)))
        np.testing.assert_array_equal(found, whole[start:stop])


# --- shots and clips -------------------------------------------------------------------------------------------------


def test_cuts_are_found_where_they_are_and_a_turning_camera_is_none(footage):
    path = footage[0] / "long.mp4"
    small_frames = iter_frames(path, measure_timing(path), small=(64, 128))
    assert shots_of(look_through(small_frames, FPS)) == [Shot(0, 25), Shot(25, 57), Shot(57, 84)]
    picture = cv2.resize(erp(9, 1)[0], (128, 64), interpolation=cv2.INTER_AREA)
    spin = [np.roll(picture, 11 * t if t > 12 else 0, axis=1) for t in range(30)]  # suddenly 31 degrees a frame
    assert shots_of(look_through(spin, FPS)) == [Shot(0, 30)]


def test_a_dissolve_is_in_no_clip():
    one, two = (cv2.resize(erp(scene, 1)[0], (128, 64)).astype(float) for scene in (0, 5))
    share = np.clip((np.arange(120) - 50) / 20, 0, 1)
    frames = [((1 - s) * one + s * two).astype(np.uint8) for s in share]
    shots = shots_of(look_through(frames, FPS))
    assert all(shot.stop <= 56 or shot.start >= 64 for shot in shots), shots
    assert sum(shot.stop - shot.start for shot in shots) > 80


def test_still_and_dark_stretches_are_left_out_with_the_reason():
    moving = [cv2.resize(frame, (128, 64)) for frame in erp(9, 24)]
    frames = [*moving, *[moving[-1]] * 24, *[np.zeros_like(moving[0])] * 24]
    look = look_through(frames, FPS)
    chosen, rejected = choose_clips(look, SplitSettings(64, 12, 10, 0.0, 0))
    assert [start for start, _ in chosen] == [0, 12]
    assert {reason for *_, reason in rejected} >= {"static", "black, static"}
    chosen, _ = choose_clips(look, SplitSettings(64, 12, 10, 0.0, 0, keep_flagged=True))
    assert [flags for _, flags in chosen] == [[], [], ["static"], ["static"], ["black", "static"], ["black", "static"]]
    assert flags_of([1, 0, 0, 1, 1, 0, 1], [90] * 8) == ["frozen"]
    chosen, rejected = choose_clips(look, SplitSettings(64, 6, 2, 0.0, 0))
    assert [start for start, _ in chosen] == [0, 18]
    assert "2 more clips than the 2 per source" in [reason for *_, reason in rejected]


def test_near_duplicates_are_found_turned_and_encoded_again(tmp_path):
    clips = [erp(scene, 3)[1] for scene in SCENES]
    write_video(tmp_path / "again.mp4", np.stack([np.roll(clips[1], 77, axis=1)]), FPS, crf=30)
    clips.append(read_video(tmp_path / "again.mp4").frames[0])
    found = near_duplicates([[perceptual_hash(c)] for c in clips], [signature(c) for c in clips])
    assert list(found) == [len(SCENES)]
    other, turn = found[len(SCENES)]
    assert other == 1
    assert turn in (pytest.approx(360 - 360 * 77 / 256, abs=6), pytest.approx(360 * 77 / 256, abs=6))


def test_no_source_is_on_both_sides():
    sources = [f"{number % 7}.mp4" for number in range(70)]
    testing = held_out_sources(sources, 0.3, 1)
    assert testing == held_out_sources(sources, 0.3, 1)
    assert len(testing) == 2
    assert held_out_sources(["a"] * 5, 0.5, 1) == set()
    assert held_out_sources(["a"] * 50 + ["b"], 0.1, 1) == {"b"}
    assert held_out_sources(sources, 0, 1) == set()


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(footage, tiny_base, tmp_path_factory):
    """The set that one command makes of the footage, with a captioner of the real class."""
    root = tmp_path_factory.mktemp("built")
    params = tiny_params(tiny_base)
    (root / "params.yaml").write_text(yaml.safe_dump(params.model_dump(exclude_none=True)), encoding="utf-8")
    blip = write_tiny_blip(root / "blip")
    out = root / "datasets/mine"
    arguments = ["build", str(footage[0]), "--out", str(out), "--captioner", str(blip), "--frames", "12"]
    arguments += ["--params", str(root / "params.yaml")]
    done = CliRunner().invoke(data, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "mine: the set is whole" in done.output
    return out, arguments


def test_exactly_the_right_files_are_taken_each_with_its_reason(footage, built):
    sources = {source.path: source for source in read_sources(built[0] / "probe/sources.jsonl")}
    assert set(sources) == set(footage[1])
    for name, word in footage[1].items():
        assert word in sources[name].reason, (name, sources[name])
        assert bool(word) == bool(sources[name].reason), (name, sources[name])
    assert "--crop-eye top" in sources["stereo.mp4"].hint
    assert "crop" in sources["bars.mp4"].hint
    assert "variable frame rate" in sources["phone.mp4"].repairs[0]
    assert "cut off" in sources["sub/cut off.mp4"].repairs[0]
    page = (built[0] / "probe/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == len(sources)
    assert all(name in page for name in sources)
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)


def test_the_set_is_in_the_layout_of_web360_and_complete(built):
    out = built[0]
    train, test = (read_clips(out / name / "clips.csv") for name in ("train", "test"))
    assert {clip.columns["source"] for clip in train}.isdisjoint(clip.columns["source"] for clip in test)
    long = [clip for clip in (*train, *test) if clip.columns["source"] == "long.mp4"]
    spans = [(int(clip.columns["start"]), int(clip.columns["end"])) for clip in long]
    assert len(spans) >= 3
    assert not any(start < cut < end for start, end in spans for cut in (25, 57))
    for clip in train:
        video, flow = (read_video(out / "train" / kind / f"{clip.videoid}.mp4") for kind in ("videos", "flows"))
        assert video.frames.shape == flow.frames.shape == (12, 32, 64, 3)
        assert clip.columns["captioner"].endswith("blip")
        assert clip.columns["fusion"] == "rules"
        assert clip.columns["yaw_90"]
    with open(out / "rejected.csv", encoding="utf-8") as file:
        rejected = list(csv.DictReader(file))
    assert all(row["reason"] for row in rejected)
    assert json.loads((out / "cache/index.json").read_text())["clips"][0]["frames"] == 12
    assert not list(out.rglob("*.tmp*"))


def test_again_nothing_is_done_and_nothing_changes(built):
    out, arguments = built
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and ".build" not in str(path)}
    assert CliRunner().invoke(data, arguments, catch_exceptions=False).exit_code == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and ".build" not in str(path)}
    assert after == before


def test_the_set_trains(built, tiny_base, tmp_path, monkeypatch):
    """As the source of the pipeline: its captions, flow and latents are taken over, and the adapter trains on them."""
    from core.data.stages import STEPS, Layout, run_step

    monkeypatch.chdir(tmp_path)
    dataset = {"source": str(built[0]), "frames": 12}
    params = tiny_params(tiny_base, dataset=dataset)
    for name in STEPS:
        assert run_step(name, params, Layout.pipeline(params))
    for name in ("index.json", "clips-00000.safetensors"):
        assert (params.outputs / "cache" / name).read_bytes() == (built[0] / "cache" / name).read_bytes()
    folder = train_model(params, "adapter")
    assert len((folder / "history.csv").read_text().splitlines()) == 5


def test_a_broken_set_is_refused_with_what_mends_it(built, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(built[0], broken)
    assert CliRunner().invoke(data, ["check", str(broken)]).exit_code == 0
    ids = [clip.videoid for clip in read_clips(broken / "train/clips.csv")]
    (broken / f"train/videos/{ids[0]}.mp4").unlink()
    flow = broken / f"train/flows/{ids[1]}.mp4"
    write_video(flow, read_video(flow).frames[:-1], FPS, lossless_rgb=True)
    video = broken / f"train/videos/{ids[2]}.mp4"
    video.write_bytes(video.read_bytes()[:-200])
    table = (broken / "train/clips.csv").read_text(encoding="utf-8").splitlines()
    cells = next(csv.reader([table[4]]))
    table[4] = ",".join([cells[0], "", *cells[2:]])
    (broken / "train/clips.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    wild = np.zeros((12, 32, 64, 3), np.uint8)  # v of 32 rows upwards, and u of half a turn
    write_video(broken / f"train/flows/{ids[3]}.mp4", wild, FPS, lossless_rgb=True)
    (broken / "train/flows/stranger.mp4").write_bytes(b"")
    done = CliRunner().invoke(data, ["check", str(broken)])
    message = str(done.exception)
    assert done.exit_code == 1
    assert f"{ids[0]}.mp4: no such file; cut it again" in message
    assert f"{ids[1]}.mp4: 11 maps for 12 frames; estimate it again" in message
    assert f"{ids[2]}.mp4" in message
    assert f"clip {ids[3]}: its caption is empty; run `panobench data caption`" in message
    assert "stranger.mp4: no row of the CSV names it" in message


def test_shares_of_a_check_are_whole_together(built, tiny_base, tmp_path, monkeypatch):
    from core.data.stages import Layout, run_step
    from core.shards import Shard

    monkeypatch.chdir(tmp_path)
    shares = [["check", str(built[0]), "--rank", str(rank), "--world", "3"] for rank in range(3)]
    done = [CliRunner().invoke(data, share, catch_exceptions=False) for share in shares]
    assert [f"share {rank} of 3 is whole" in done[rank].output for rank in range(3)] == [True] * 3
    params = tiny_params(tiny_base, dataset={"source": str(built[0]), "frames": 12})
    layout = Layout.pipeline(params)
    for name in ("probe", "split", "caption", "flow"):
        run_step(name, params, layout)
    assert not run_step("check", params, layout, Shard(1, 2))
    assert not layout.checked.exists()
    first = sorted((layout.dataset / "train/videos").iterdir())[0]
    content = first.read_bytes()
    first.write_bytes(content[:-200])
    with pytest.raises(Exception, match=first.name):
        run_step("check", params, layout, Shard(0, 2))
    assert not layout.checked.exists()
    first.write_bytes(content)  # another file now: what was checked before it changed counts no more
    assert not run_step("check", params, layout, Shard(0, 2))
    assert run_step("check", params, layout, Shard(1, 2))
    assert layout.checked.exists()


def test_web360_as_released_is_taken_as_it_is(tiny_base, tmp_path, monkeypatch):
    from core.data.stages import STEPS, Layout, run_step
    from core.flow import encode_flow
    from core.train.cache import Cache

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "WEB360"
    ids = [f"1000{number:02d}" for number in range(4)]
    for number, videoid in enumerate(ids):
        clip = np.stack([cv2.resize(f, (64, 32), interpolation=cv2.INTER_AREA) for f in erp(SCENES[number], 6)])
        flow = np.full((5, 2, 32, 64), 3.0, np.float32)
        write_video(folder / f"videos_32x64x6/{videoid}.mp4", clip, 30)
        write_video(folder / f"flows_32x64x6/{videoid}.mp4", encode_flow(flow, "released"), 30)  # lossy, as theirs
    rows = "".join(f'{videoid},"a meadow, at noon"\n' for videoid in ids)
    (folder / "WEB360_360TF.csv").write_text("videoid,name\n" + rows, encoding="utf-8")
    assert set(find_set(folder)) == {"all"}
    assert CliRunner().invoke(data, ["check", str(folder)], catch_exceptions=False).exit_code == 0
    params = tiny_params(tiny_base, dataset={"source": str(folder), "test_share": 0.25})
    layout = Layout.pipeline(params)
    for name in STEPS:
        assert run_step(name, params, layout)
    train, reference = (read_clips(layout.dataset / name / "clips.csv") for name in ("train", "reference"))
    assert (len(train), len(reference)) == (3, 1)
    assert train[0].name == "a meadow, at noon"
    cache = Cache(layout.cache)
    assert cache.index["flow"]["encoding"] == "released"
    stored = read_video(folder / f"flows_32x64x6/{train[0].videoid}.mp4").frames[2]
    condition = cache.condition(0, 2, 1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(condition, stored / 127.5 - 1, atol=1e-6)
    folder = train_model(params, "adapter")
    assert (folder / "history.csv").is_file()
    (layout.dataset / "train/videos" / f"{train[0].videoid}.mp4").unlink()
    with pytest.raises(Exception, match="1 problems"):
        run_step("check", params, layout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "raw footage comes without captions: pass --captioner"),
        (["--captioner", "x", "--fusion", "chat"], "the environment does not set PANOBENCH_CHAT_URL"),
        (["--captioner", "x", "--flow", "raft"], "flow.backend 'raft' needs its weights"),
        (["--captioner", "x", "--flow", "panoflow", "--flow-weights", "none.pth"], "none.pth does not exist"),
        (["--captioner", "x", "--base", "nowhere"], "nowhere/vae: missing"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(footage, tiny_base, tmp_path, monkeypatch, options, message):
    for name in ("PANOBENCH_CHAT_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    params = tiny_params(tiny_base).model_dump(exclude_none=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    arguments = ["build", str(footage[0]), "--out", str(tmp_path / "set"), "--params", str(tmp_path / "params.yaml")]
    done = CliRunner().invoke(data, [*arguments, *options])
    assert message in str(done.exception)
    assert not (tmp_path / "set").exists()


def test_an_eye_of_a_stereo_file_is_kept_on_demand(footage, tmp_path):
    source, _ = probe_file(footage[0], footage[0] / "stereo.mp4", 32, 4, "bottom")
    assert source.reason == ""
    assert source.eye == "bottom"
    mono, _ = probe_file(footage[0], footage[0] / "long.mp4", 32, 4, "bottom")
    assert (mono.reason, mono.eye) == ("", None)


def test_footage_that_cannot_serve_is_rejected(tmp_path):
    write_video(tmp_path / "short.mp4", erp(0, 3), FPS)
    assert "too short: 3 frames" in probe_file(tmp_path, tmp_path / "short.mp4", 64, 12)[0].reason
    assert "too small: 128 rows" in probe_file(tmp_path, tmp_path / "short.mp4", 256, 2)[0].reason
    (tmp_path / "sound.mp4").write_bytes(b"")
    assert "not a readable video" in probe_file(tmp_path, Path(tmp_path / "sound.mp4"))[0].reason
