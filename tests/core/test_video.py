"""Video files: exact frames, equal bytes, and one clear line for every broken file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from core.errors import PanobenchError
from core.video import VideoError, find_encoder, iter_video, probe_video, read_video, write_video


def landscape(frames: int = 8, height: int = 64) -> np.ndarray:
    """Sky, textured ground and a red ball with a soft edge that moves, ``(F, H, 2H, 3)`` uint8."""
    width = 2 * height
    y, x = np.mgrid[0:height, 0:width] / height
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.0) * 0.3
    clips = []
    for t in range(frames):
        sky = np.stack((0.35 + 0.4 * y, 0.55 + 0.3 * y, 0.9 - 0.1 * y), -1)
        ground = np.array([0.35, 0.45, 0.2]) * (1 + np.roll(grain, t, 1))[..., None]
        picture = np.where(y[..., None] > 0.55, ground, sky)
        ball = 1 / (1 + np.exp((np.hypot(x - 0.8 - 0.03 * t, y - 0.5) - 0.15) * height / 1.5))
        picture = picture + (np.array([0.75, 0.2, 0.15]) - picture) * ball[..., None]
        clips.append((picture.clip(0, 1) * 255).round().astype(np.uint8))
    return np.stack(clips)


def numbered(frames: int, height: int = 32) -> np.ndarray:
    """Frames that carry their own number as a bar code of grey blocks."""
    bits = (np.arange(frames)[:, None] >> np.arange(8)) & 1
    rows = np.repeat(bits * 200 + 20, height * 2 // 8, axis=1).astype(np.uint8)
    return np.repeat(np.repeat(rows[:, None, :, None], height, 1), 3, 3)


def read_numbers(frames: np.ndarray) -> list[int]:
    height = frames.shape[1]
    blocks = frames.reshape(len(frames), height, 8, -1, 3).mean((1, 3, 4)) > 120
    return (blocks << np.arange(8)).sum(1).tolist()


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "good.mp4"
    write_video(path, landscape(), fps=8)
    return path


def test_near_lossless_and_unbiased(good):
    found, true = read_video(good), landscape()
    difference = found.frames.astype(float) - true
    assert (found.frames.shape, found.frames.dtype, found.fps) == (true.shape, np.uint8, 8)
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 40
    assert np.abs(difference.mean((0, 1, 2))).max() < 0.25  # swscale's fast paths are a grey level too dark


@pytest.mark.parametrize("fps", [8, 23.976, 29.97, 30])
def test_frame_exact(tmp_path, fps):
    """Every frame, once, in order: 100 frames make x264 use B-frames across several groups of pictures."""
    write_video(tmp_path / "n.mp4", numbered(100), fps)
    assert read_numbers(read_video(tmp_path / "n.mp4").frames) == list(range(100))
    assert read_numbers(np.stack(list(iter_video(tmp_path / "n.mp4")))) == list(range(100))
    info = probe_video(tmp_path / "n.mp4")
    assert (info.frames, info.height, info.width, info.codec, info.pixel_format) == (100, 32, 64, "h264", "yuv420p")
    assert info.fps == pytest.approx(fps, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 8, 16, 3), (6, 33, 67, 3)])
def test_lossless_rgb_is_exact(tmp_path, shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", noise, 8, lossless_rgb=True)
    np.testing.assert_array_equal(read_video(tmp_path / "noise.mp4").frames, noise)


def test_same_frames_same_bytes(good, tmp_path):
    """Also in another process that believes to have another number of cores, and from a generator."""
    write_video(tmp_path / "again.mp4", iter(landscape()), fps=8)
    assert (tmp_path / "again.mp4").read_bytes() == good.read_bytes()
    code = (
        "import os, sys, numpy as np; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from core.video import write_video\n"
        "write_video(sys.argv[2], np.load(sys.argv[1]), 8)"
    )
    np.save(tmp_path / "frames.npy", landscape())
    subprocess.run([sys.executable, "-c", code, tmp_path / "frames.npy", tmp_path / "other.mp4"], check=True)
    assert (tmp_path / "other.mp4").read_bytes() == good.read_bytes()


def test_what_memory_held_before_does_not_change_a_byte(tmp_path):
    rng = np.random.default_rng(11)
    frames = (128 + 30 * rng.standard_normal((4, 8, 16, 3))).clip(0, 255).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    found = set()
    for _ in range(25):
        blocks = [np.full(int(size), rng.integers(256), np.uint8) for size in rng.integers(100, 300_000, 60)]
        kept = blocks[::3]
        del blocks  # what x264 allocates now has their content
        write_video(tmp_path / "a.mp4", frames, 8)
        found.add((tmp_path / "a.mp4").read_bytes())
        del kept
    assert len(found) == 1


def test_plays_while_it_loads(good):
    data = good.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_seam_is_a_meridian_like_any_other(tmp_path):
    """A panorama turned by whole pixels comes back turned, to the bit: chroma is filtered around the sphere too."""
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", clip, 8, crf=0)
    write_video(tmp_path / "b.mp4", np.roll(clip, 10, axis=2), 8, crf=0)
    found = read_video(tmp_path / "a.mp4").frames
    np.testing.assert_array_equal(np.roll(found, 10, axis=2), read_video(tmp_path / "b.mp4").frames)


def test_a_perspective_picture_does_not_wrap(tmp_path):
    """Left black, right red, 4:3: nothing red may come around."""
    clip = np.zeros((1, 48, 64, 3), np.uint8)
    clip[..., 32:, 0] = 255
    write_video(tmp_path / "a.mp4", clip, 8)
    assert read_video(tmp_path / "a.mp4").frames[:, :, :16].max() < 3


def test_reads_what_others_made(tmp_path):
    """VP9 in WebM and a GIF, by FFmpeg's own defaults."""
    for name, codec, pixel_format in (("a.webm", "libvpx-vp9", "yuv420p"), ("a.gif", "gif", "rgb8")):
        with av.open(str(tmp_path / name), "w") as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 32, pixel_format
            for picture in numbered(12):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        video = read_video(tmp_path / name)
        assert read_numbers(video.frames) == list(range(12))
        assert video.fps == pytest.approx(10, rel=0.02)
        assert probe_video(tmp_path / name).frames == 12


# --- broken files ----------------------------------------------------------------------------------------------------


def audio_only(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


def damaged(data: bytes, kind: str) -> bytes:
    middle = data.index(b"mdat") + 2000
    return {
        "zero": b"",
        "text": b"this is no video\n" * 50,
        "half": data[: len(data) // 2],
        "last bytes": data[:-3],
        "index cut": data[:500],
        "unknown codec": data.replace(b"avc1", b"zzq1"),
        "scrambled": data[:middle] + bytes(range(256)) * 8 + data[middle + 2048 :],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zero", "empty"),
        ("text", "not a readable video"),
        ("half", "truncated"),
        ("last bytes", "truncated"),
        ("index cut", "not a readable video"),
        ("unknown codec", "codec is unknown.*convert it to H.264"),
        ("scrambled", "not a readable video"),
    ],
)
def test_broken_file_is_one_clear_line(good, tmp_path, kind, message):
    path = tmp_path / "broken.mp4"
    path.write_bytes(damaged(good.read_bytes(), kind))
    with pytest.raises(VideoError, match=f"broken.mp4: .*{message}") as caught:
        read_video(path)
    assert "\n" not in str(caught.value)
    if kind != "scrambled":  # only decoding sees that
        with pytest.raises(VideoError, match=r"broken\.mp4"):
            probe_video(path)


def test_audio_only_and_missing(tmp_path):
    audio_only(tmp_path / "sound.mp4")
    with pytest.raises(VideoError, match=r"sound.mp4: has no video stream, only audio"):
        read_video(tmp_path / "sound.mp4")
    with pytest.raises(VideoError, match=r"nothing.mp4: no such file"):
        read_video(tmp_path / "nothing.mp4")


def test_missing_encoder_says_what_to_do():
    assert find_encoder("libx264") == "libx264"
    with pytest.raises(VideoError, match="no encoder 'libx999'; install"):
        find_encoder("libx999")


# --- writing fails ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (np.zeros((0, 8, 16, 3), np.uint8), ValueError, "no frames"),
        (np.zeros((2, 8, 16, 3), np.float32), ValueError, "expected uint8"),
        (np.zeros((2, 8, 16), np.uint8), ValueError, "expected uint8"),
        (np.zeros((2, 9, 18, 3), np.uint8), VideoError, "even size, not 18 x 9"),
        ([np.zeros((8, 16, 3), np.uint8), np.zeros((8, 18, 3), np.uint8)], ValueError, "frame 1 is 18 x 8"),
    ],
)
def test_bad_frames_leave_no_file(tmp_path, frames, error, message):
    with pytest.raises(error, match=message):
        write_video(tmp_path / "x.mp4", frames, 8)
    assert list(tmp_path.iterdir()) == []


def test_killed_writer_leaves_nothing(tmp_path):
    """Kill -9 in the middle: no file under its name; the next write clears the rest away."""
    path = tmp_path / "x.mp4"
    code = (
        "import sys, time, numpy as np; from core.video import write_video\n"
        "def frames():\n"
        "    rng = np.random.default_rng(0)\n"
        "    while True:\n"
        "        yield rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)\n"
        "        print('frame', flush=True)\n"
        "write_video(sys.argv[1], frames(), 8)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    for _ in range(60):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    write_video(path, landscape(2), 8)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]


def test_failed_write_keeps_the_old_file(good, tmp_path):
    shutil.copy(good, tmp_path / "x.mp4")

    def frames():
        yield landscape(1)[0]
        raise RuntimeError("the generator failed")

    with pytest.raises(RuntimeError, match="generator failed"):
        write_video(tmp_path / "x.mp4", frames(), 8)
    assert (tmp_path / "x.mp4").read_bytes() == good.read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk_is_a_clear_error(tmp_path):
    """On a real file system of 64 kB: complete or absent, whatever of the writing hits the limit."""
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mount.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (12, 64, 128, 3), dtype=np.uint8)
        refused = 0
        for count in range(4, 13):
            message = None
            try:
                write_video(tmp_path / "x.mp4", noise[:count], 8)
            except PanobenchError as error:
                message = str(error)
            if message:
                refused += 1
                assert "x.mp4: the disk is full; free some space" in message
                assert os.listdir(tmp_path) == []
            else:
                assert len(read_video(tmp_path / "x.mp4").frames) == count
                os.unlink(tmp_path / "x.mp4")
        assert 2 <= refused < 9
    finally:
        for _ in range(20):
            if not subprocess.run(["umount", tmp_path], capture_output=True).returncode:
                break
            time.sleep(0.1)
