"""Whatever people have: files of many kinds are scored, resampled as asked for, or refused in one clear line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from core.errors import PanobenchError
from core.video import VideoError, frame_times, read_video, write_video
from evaluation.sources import Resample, content_hash, frame_files, open_frames, probe, resampled
from panobench import cli
from tests.evaluation.files import write_as, write_frames, write_gif
from tests.evaluation.worlds import FPS, still, turning, write_set

CHEAP = "seam_ratio,flicker"


def run(*arguments: object):
    return CliRunner().invoke(cli, ["score", *map(str, arguments)], catch_exceptions=False)


def frames_of(path: Path, how: Resample | None = None, fps: float | None = None) -> np.ndarray:
    return np.stack(list(open_frames(path, probe(path, fps), how)))


def refused(tmp_path: Path, *options: object) -> str:
    """The line about the one bad video of the folder, beside which a good one is scored."""
    result = run(tmp_path / "v", "--metrics", CHEAP, "--out", tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("not scored: ")]
    assert len(lines) == 1, result.output
    assert set(pd.read_parquet(tmp_path / "out/scores.parquet")["video_id"]) == {"good"}
    return lines[0]


# --- kinds of files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mov", "libx264", "yuv444p"),
        ("a.mkv", "ffv1", "yuv420p10le"),
        ("a.mp4", "libx264", "yuv420p10le"),
    ],
)
def test_other_containers_and_ten_bits_are_read_as_they_are(tmp_path, name, codec, pixel_format):
    video = turning(2.0, frames=3, height=32)
    options = {"crf": "5", "b:v": "0"} if codec != "ffv1" else {}
    file = write_as(tmp_path / name, video, 10, codec, pixel_format, options=options)
    info = probe(file)
    assert (info.frames, info.width, info.height, info.steady) == (3, 64, 32, True)
    assert info.fps == pytest.approx(10, rel=1e-3)
    found, grey = frames_of(file), np.array([0.299, 0.587, 0.114])
    assert np.abs((found - video.astype(float)) @ grey).mean() < 1.5
    # Chroma of half the resolution is interpolated around the sphere: the seam is a meridian like any other.
    steps = np.abs(found - np.roll(found.astype(int), 1, axis=2)).mean(axis=(0, 1, 3))
    assert steps[0] < 1.5 * np.median(steps)


def test_a_set_of_several_kinds_is_one_set(tmp_path):
    video = turning(2.0, frames=4, height=32)
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v/a.mp4", video, 10)
    write_as(tmp_path / "v/b.webm", video, 10, "libvpx-vp9", options={"crf": "5", "b:v": "0"})
    write_gif(tmp_path / "v/c.gif", video, 10)
    write_frames(tmp_path / "v/d", video)
    write_frames(tmp_path / "v/e", video, ".jpg")
    result = run(tmp_path / "v", "--metrics", CHEAP, "--out", tmp_path / "out", "--fps", 10)
    assert result.exit_code == 0, result.output
    scores = pd.read_parquet(tmp_path / "out/scores.parquet").pivot(index="video_id", columns="metric", values="value")
    assert list(scores.index) == ["a", "b", "c", "d", "e"]
    apart = scores["flicker"].sub(scores["flicker"]["d"]).abs().drop("c")  # 256 colours make a GIF flicker
    assert apart.max() < 0.3 * scores["flicker"]["d"]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    video = turning(1.0, frames=12, height=32)
    folder = write_frames(tmp_path / "clip", video)
    assert [file.stem for file in frame_files(folder)] == [f"frame{n}" for n in range(12)]
    np.testing.assert_array_equal(frames_of(folder, fps=8), video)
    before = content_hash(folder)
    Image.fromarray(video[0]).save(folder / "frame5.png")
    content_hash.cache_clear()
    assert content_hash(folder) != before


def test_grey_pictures_and_opaque_alpha_are_pictures(tmp_path):
    grey = still(frames=1, height=32)[0, :, :, 0]
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "1.png")
    found = frames_of(tmp_path, fps=8)
    np.testing.assert_array_equal(found, np.repeat(grey[None, :, :, None], 2, axis=0).repeat(3, axis=3))


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_blank_video_is_no_perfect_video(tmp_path):
    write_set(tmp_path / "v", ["good"])
    write_video(tmp_path / "v/black.mp4", np.zeros((4, 32, 64, 3), np.uint8), FPS)
    assert "black.mp4: every frame is one flat colour, as black frames decoded from NaN are" in refused(tmp_path)


def test_the_alpha_channel_that_webm_keeps_beside_the_picture_is_seen(tmp_path):
    write_set(tmp_path / "v", ["good"])
    ghost = np.concatenate([turning(2.0, frames=4, height=32), np.full((4, 32, 64, 1), 90, np.uint8)], axis=3)
    write_as(tmp_path / "v/ghost.webm", ghost, FPS, "libvpx-vp9", "yuva420p")
    assert "ghost.webm: has transparent pixels; flatten it on a background first" in refused(tmp_path)


def test_a_transparent_video_is_refused_by_name(tmp_path):
    write_set(tmp_path / "v", ["good"])
    ghost = np.concatenate([turning(2.0, frames=4, height=32), np.full((4, 32, 64, 1), 90, np.uint8)], axis=3)
    write_as(tmp_path / "v/ghost.mov", ghost, FPS, "qtrle", "argb")
    assert "ghost.mov: has transparent pixels; flatten it on a background first" in refused(tmp_path)


def test_an_uneven_rate_is_refused_and_can_be_resampled(tmp_path):
    write_set(tmp_path / "v", ["good"])
    times = [0.0, 0.125, 0.2, 0.25, 0.375, 0.43, 0.5]
    write_as(tmp_path / "v/phone.mkv", turning(2.0, frames=7, height=32), FPS, "ffv1", times=times)
    assert "phone.mkv: its frame rate varies; say --resample @FPS" in refused(tmp_path)
    how = Resample.parse("@8x4")
    np.testing.assert_allclose(frame_times(tmp_path / "v/phone.mkv"), times, atol=1e-3)
    whole = read_video(tmp_path / "v/phone.mkv").frames
    np.testing.assert_array_equal(frames_of(tmp_path / "v/phone.mkv", how), whole[[0, 1, 3, 4]])
    result = run(tmp_path / "v", "--metrics", CHEAP, "--resample", "@8x4", "--out", tmp_path / "even")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((36, 64), "64x36 is not 2:1"),
        ((33, 65), "65x33 is not 2:1"),
        ((8, 16), "16x8 is too small; at least 32x16 is needed"),
    ],
)
def test_odd_sizes_are_refused_by_name(tmp_path, size, reason):
    write_set(tmp_path / "v", ["good"])
    noise = np.random.default_rng(0).integers(0, 255, (4, *size, 3), dtype=np.uint8)
    write_as(tmp_path / "v/odd.mkv", noise, FPS, "ffv1", "bgr0")
    assert reason in refused(tmp_path)


def test_an_odd_number_of_rows_is_fine_if_it_is_2_to_1(tmp_path):
    (tmp_path / "v").mkdir()
    write_as(tmp_path / "v/a.mkv", turning(2.0, frames=4, height=33), FPS, "ffv1", "bgr0")
    result = run(tmp_path / "v", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: f.write_bytes(b"no picture"), "frame2.png is not a readable picture"),
        (lambda f: Image.new("RGB", (32, 16), "red").save(f), "frame2.png is 32x16, the frames before it are 64x32"),
        (lambda f: Image.new("RGBA", (64, 32), (1, 2, 3, 4)).save(f), "transparent pixels"),
        (lambda f: Image.new("RGB", (64, 32)).save(f.with_suffix(".jpg")), "PNG and JPEG pictures are mixed"),
    ],
)
def test_bad_frames_are_refused_by_name(tmp_path, damage, reason):
    write_set(tmp_path / "v", ["good"])
    damage(write_frames(tmp_path / "v/bad", turning(2.0, frames=4, height=32)) / "frame2.png")
    assert reason in refused(tmp_path, "--fps", FPS)


def test_frames_need_a_rate_and_a_folder_of_their_own(tmp_path):
    folder = write_frames(tmp_path / "v/a", turning(2.0, frames=4, height=32))
    result = run(tmp_path / "v", "--metrics", CHEAP, "--out", tmp_path / "out")
    assert "not scored: a: a folder of frames does not say its rate; pass --fps" in result.output
    assert "the frames of one video; give the folder that holds such folders" in run(folder).output


# --- resampling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024x512@8x16", Resample(1024, 512, 8.0, 16)),
        ("1024x512", Resample(1024, 512)),
        ("@7.5", Resample(fps=7.5)),
        ("@8x16", Resample(fps=8.0, frames=16)),
        ("x16", Resample(frames=16)),
    ],
)
def test_what_resample_understands(text, expected):
    assert Resample.parse(text) == expected


@pytest.mark.parametrize("text", ["", "fast", "1024", "1024x500", "@0", "x1", "0x0", "1024x512@", "@8x16x3"])
def test_what_resample_refuses(text):
    with pytest.raises(PanobenchError, match=r"^--resample"):
        Resample.parse(text)


def test_frames_are_picked_and_pixels_averaged_never_invented(tmp_path):
    video = turning(2.0, frames=12, height=64)
    file = write_as(tmp_path / "a.mkv", video, 24, "ffv1", "bgr0")
    how = Resample.parse("64x32@8x4")
    found = frames_of(file, how)
    expected = video[::3].reshape(4, 32, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(found - expected).max() <= 0.5
    info = resampled(file, probe(file), how)
    assert (info.frames, info.fps, info.width, info.height) == (4, 8, 64, 32)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("x9", "gives 4 frames, 9 are asked for; panobench never pads with still frames"),
        ("@30", "frames would repeat, which panobench never does"),
        ("@8x5", "gives 4 frames, 5 are asked for"),
        ("128x64", "64x32 cannot be enlarged to 128x64"),
    ],
)
def test_nothing_is_padded_repeated_or_enlarged(tmp_path, how, reason):
    write_set(tmp_path / "v", ["short"])
    file = tmp_path / "v/short.mp4"
    with pytest.raises(VideoError, match=reason):
        resampled(file, probe(file), Resample.parse(how))
    result = run(tmp_path / "v", "--metrics", CHEAP, "--resample", how, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert reason in result.output


def test_a_mixed_set_and_its_reference_are_brought_together_and_that_is_recorded(tmp_path):
    write_set(tmp_path / "v", ["a"], height=32, frames=4, fps=8)
    write_set(tmp_path / "v", ["b"], height=64, frames=12, fps=16)
    write_set(tmp_path / "r", ["r", "s"], height=64, frames=9, fps=8)
    arguments = [tmp_path / "v", "--metrics", f"{CHEAP},content_distribution", "--reference", tmp_path / "r"]
    mixed = run(*arguments, "--out", tmp_path / "out")
    assert mixed.exit_code == 1
    assert "the videos of v differ" in mixed.output
    assert "--resample WIDTHxHEIGHT@FPSxFRAMES" in mixed.output
    together = run(*arguments, "--resample", "64x32@8x4", "--out", tmp_path / "out")
    assert together.exit_code == 0, together.output
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert settings["resample"] == {"width": 64, "height": 32, "fps": 8.0, "frames": 4}
    assert settings["videos"] == {"count": 2, "frames": 4, "fps": 8.0, "height": 32, "width": 64}
