"""Spherical metadata: written, read back by us and by FFmpeg, and nothing else of the file changed."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from core.errors import PanobenchError
from core.spherical import Spherical, add_spherical, read_spherical, with_spherical, write_panorama
from core.video import read_video, write_video

FULL = Spherical("equirectangular", "equirectangular", "mono")


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (5, 32, 64, 3), dtype=np.uint8)


def write_plain(path, frames, movflags: str, sound: bool = False) -> None:
    """An MP4 that this project would not write: index behind the media, fragments, a sound track."""
    with av.open(str(path), "w", format="mp4", options={"movflags": movflags}) as out:
        video = out.add_stream("libx264", rate=8)
        video.width, video.height, video.pix_fmt = 64, 32, "yuv420p"
        audio = out.add_stream("aac", rate=8000) if sound else None
        for picture in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            if audio is not None:
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
                tone.sample_rate, tone.time_base = 8000, Fraction(1, 8000)
                out.mux(audio.encode(tone))
        out.mux(video.encode())
        if audio is not None:
            out.mux(audio.encode())


def packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux() if packet.size]


def test_written_panoramas_carry_both_versions_and_the_same_pictures(tmp_path, frames):
    write_video(tmp_path / "plain.mp4", frames, 8)
    write_panorama(tmp_path / "marked.mp4", frames, 8)
    assert read_spherical(tmp_path / "plain.mp4") is None
    assert read_spherical(tmp_path / "marked.mp4") == FULL
    plain, marked = read_video(tmp_path / "plain.mp4"), read_video(tmp_path / "marked.mp4")
    assert np.array_equal(plain.frames, marked.frames)
    assert plain.fps == marked.fps
    assert sorted(path.name for path in tmp_path.iterdir()) == ["marked.mp4", "plain.mp4"]


@pytest.mark.parametrize("movflags", ["+faststart", "default_base_moof"])
@pytest.mark.parametrize("sound", [False, True])
def test_chunk_offsets_follow_the_media(tmp_path, frames, movflags, sound):
    path = tmp_path / "v.mp4"
    write_plain(path, frames, movflags, sound)
    assert (path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")) == (movflags == "+faststart")
    before, pictures = packets(path), read_video(path).frames
    add_spherical(path)
    assert packets(path) == before
    assert np.array_equal(read_video(path).frames, pictures)
    assert read_spherical(path) == FULL
    once = path.read_bytes()
    assert once.count(b"st3d") == once.count(b"sv3d") == once.count(b"SphericalVideo xmlns") == 1  # sound has none
    add_spherical(path)
    assert path.read_bytes() == once


def test_ffmpeg_reads_what_was_written(tmp_path, frames):
    """FFmpeg's own reader knows both boxes; it hands the projection to every decoded frame."""
    path = tmp_path / "v.mp4"
    write_panorama(path, frames, 8)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        data = {entry.type.name: bytes(entry) for entry in frame.side_data}
    projection, *angles = struct.unpack("<I3i", data["SPHERICAL"][:16])
    assert projection == 0  # AV_SPHERICAL_EQUIRECTANGULAR
    assert angles == [0, 0, 0]
    assert data["STEREO3D"][:4] == bytes(4)  # AV_STEREO3D_2D


def test_64_bit_offsets_move_and_32_bit_ones_do_not_overflow(tmp_path, frames):
    write_video(tmp_path / "v.mp4", frames, 8)
    data = (tmp_path / "v.mp4").read_bytes()
    place = data.index(b"stco")
    [count] = struct.unpack(">I", data[place + 8 : place + 12])
    assert count == 1
    [offset] = struct.unpack(">I", data[place + 12 : place + 16])
    # The same file with a co64 in place of the stco: 4 bytes more in every container around it.
    wide = bytearray(data[: place - 4] + struct.pack(">I4s", 24, b"co64") + data[place + 4 : place + 12])
    wide += struct.pack(">Q", offset + 4) + data[place + 16 :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = data.index(kind) - 4
        struct.pack_into(">I", wide, at, struct.unpack_from(">I", data, at)[0] + 4)
    (tmp_path / "wide.mp4").write_bytes(wide)
    pictures = read_video(tmp_path / "wide.mp4").frames
    add_spherical(tmp_path / "wide.mp4")
    assert np.array_equal(read_video(tmp_path / "wide.mp4").frames, pictures)
    assert read_spherical(tmp_path / "wide.mp4") == FULL
    far = data[: place + 12] + struct.pack(">I", 2**32 - 10) + data[place + 16 :]
    with pytest.raises(PanobenchError, match=r"far\.mp4: its 32-bit chunk offsets cannot move beyond 4 GiB"):
        with_spherical(far, "far.mp4")


def test_files_that_cannot_be_marked_are_named_and_left_alone(tmp_path, frames):
    fragmented = tmp_path / "fragmented.mp4"
    write_plain(fragmented, frames, "frag_keyframe+empty_moov")
    write_video(tmp_path / "v.mp4", frames, 8)
    whole = (tmp_path / "v.mp4").read_bytes()
    for name, content, message in (
        ("fragmented", fragmented.read_bytes(), "remux it first"),
        ("text", b"not a video at all", "not an MP4, or a damaged one"),
        ("cut", whole[: len(whole) // 2], "not an MP4, or a damaged one"),
        ("empty", b"", "holds no index"),
        ("media", whole[: whole.index(b"moov") - 4], "holds no index"),
    ):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(PanobenchError, match=message):
            add_spherical(path)
        assert path.read_bytes() == content
    with pytest.raises(PanobenchError, match="cannot be read"):
        read_spherical(tmp_path / "absent.mp4")
