"""Spherical metadata of MP4 files, by which players and video sites know an equirectangular video and show it as 360.

Two versions exist and both are written, since players read one or the other (Spherical Video RFC, V1 and V2):
- V1: XML in a `uuid` box of the video's track;
- V2: the boxes `st3d` (mono) and `sv3d` (projection: the full sphere, not turned) in the track's sample entry.

Only the index (`moov`) grows; where it stands before the media, every chunk offset in it moves along.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from core.errors import PanobenchError
from core.files import atomic_path
from core.video import Frames, write_video

_V1_UUID = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
_V1_SPACE = "http://ns.google.com/videos/1.0/spherical/"
_V1_XML = (
    '<?xml version="1.0"?>'
    '<rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    f'xmlns:GSpherical="{_V1_SPACE}">'
    "<GSpherical:Spherical>true</GSpherical:Spherical>"
    "<GSpherical:Stitched>true</GSpherical:Stitched>"
    "<GSpherical:StitchingSoftware>panobench</GSpherical:StitchingSoftware>"
    "<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    "</rdf:SphericalVideo>"
).encode()
_ENTRY_FIELDS = 78  # bytes of a visual sample entry before its boxes
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_LARGEST_32 = 2**32 - 1


@dataclass(frozen=True)
class Spherical:
    """What a file says of itself; None where it does not say it in that version."""

    v1: str | None  # projection, "equirectangular"
    v2: str | None  # likewise
    stereo: str | None  # of V2: "mono", "top-bottom", "left-right"


@dataclass(frozen=True)
class _Box:
    """A box by its place in the buffer that it was found in."""

    kind: bytes
    start: int
    body: int  # first byte behind the header
    end: int


def read_spherical(path: str | Path) -> Spherical | None:
    """The spherical metadata of an MP4's video track; None if there is none.

    Only the index is read, however long the video is.

    Raises:
        PanobenchError: not an MP4, or a damaged one.
    """
    data = _read_index(path)
    v1 = v2 = stereo = None
    for box in _descend(path, data, 0, len(data)):
        content = data[box.body : box.end]
        if box.kind == b"uuid" and content[:16] == _V1_UUID:
            v1 = _v1_projection(path, content[16:])
        elif box.kind == b"stsd":
            for inner in (inner for entry in _entries(path, data, box) for inner in _entry_boxes(path, data, entry)):
                if inner.kind == b"st3d":
                    mode = data[inner.body + 4] if inner.end > inner.body + 4 else -1
                    stereo = {0: "mono", 1: "top-bottom", 2: "left-right"}.get(mode)
                elif inner.kind == b"sv3d":
                    v2 = _v2_projection(path, data, inner)
    return Spherical(v1, v2, stereo) if v1 or v2 else None


def add_spherical(path: str | Path) -> None:
    """Mark an MP4 as a mono equirectangular video of the full sphere; done twice, it is as done once.

    The file is replaced by a complete one or left as it was.

    Raises:
        PanobenchError: not an MP4 with a video track, damaged, or fragmented.
    """
    data = _read(path)
    marked = with_spherical(data, path)
    if marked != data:
        with atomic_path(path) as temporary:
            temporary.write_bytes(marked)


def write_panorama(path: str | Path, frames: Frames, fps: float) -> None:
    """`write_video` of an equirectangular video, marked; complete or absent. Raises as `write_video` does."""
    with atomic_path(path) as temporary:
        write_video(temporary, frames, fps)
        temporary.write_bytes(with_spherical(temporary.read_bytes(), path))


def with_spherical(data: bytes, path: str | Path = "video") -> bytes:
    """The bytes of an MP4, marked; `path` is for messages. Raises as `add_spherical` does."""
    top = list(_boxes(path, data, 0, len(data)))
    if any(box.kind == b"moof" for box in top):
        raise PanobenchError(f"{path}: a fragmented MP4 cannot be marked as spherical; remux it first")
    moov = next((box for box in top if box.kind == b"moov"), None)
    if moov is None:
        raise PanobenchError(f"{path}: holds no index (moov); not a complete MP4")
    index = _rebuilt(path, data, moov, lambda offset: offset)
    grown = len(index) - (moov.end - moov.start)
    # The first pass says by how much the index grows, the second moves the offsets of what stands behind it.
    index = _rebuilt(path, data, moov, lambda offset: offset + grown if offset >= moov.end else offset)
    return data[: moov.start] + index + data[moov.end :]


def _rebuilt(path: str | Path, data: bytes, box: _Box, moved: Callable[[int], int]) -> bytes:
    """A box with metadata put into video tracks and with every chunk offset replaced by `moved` of it."""
    content = data[box.body : box.end]
    if box.kind in (b"stco", b"co64"):
        return _pack(box.kind, _moved_offsets(path, box.kind, content, moved))
    if box.kind == b"stsd":
        entries = [_marked_entry(path, data, entry) for entry in _entries(path, data, box)]
        return _pack(box.kind, content[:8] + b"".join(entries))
    if box.kind not in _CONTAINERS:
        return data[box.start : box.end]
    children = list(_boxes(path, data, box.body, box.end))
    if box.kind == b"trak" and not _is_video(path, data, box):
        return _pack(box.kind, b"".join(_offsets_only(path, data, child, moved) for child in children))
    parts = [_rebuilt(path, data, child, moved) for child in children if not _is_v1(data, child)]
    if box.kind == b"trak":
        parts.append(_pack(b"uuid", _V1_UUID + _V1_XML))
    elif box.kind == b"moov" and not any(_is_video(path, data, c) for c in children if c.kind == b"trak"):
        raise PanobenchError(f"{path}: has no video track")
    return _pack(box.kind, b"".join(parts))


def _offsets_only(path: str | Path, data: bytes, box: _Box, moved: Callable[[int], int]) -> bytes:
    """A box of a track that is not video: the same but for its chunk offsets."""
    if box.kind in (b"stco", b"co64"):
        return _pack(box.kind, _moved_offsets(path, box.kind, data[box.body : box.end], moved))
    if box.kind not in _CONTAINERS:
        return data[box.start : box.end]
    children = _boxes(path, data, box.body, box.end)
    return _pack(box.kind, b"".join(_offsets_only(path, data, child, moved) for child in children))


def _moved_offsets(path: str | Path, kind: bytes, content: bytes, moved: Callable[[int], int]) -> bytes:
    """The body of an offset table, 32 bits (`stco`) or 64 (`co64`) an entry."""
    letter, size = ("I", 4) if kind == b"stco" else ("Q", 8)
    if len(content) < 8 or len(content) != 8 + size * (count := struct.unpack(">I", content[4:8])[0]):
        raise PanobenchError(f"{path}: damaged: its table of chunk offsets does not have the length that it says")
    offsets = [moved(offset) for offset in struct.unpack(f">{count}{letter}", content[8:])]
    if kind == b"stco" and offsets and max(offsets) > _LARGEST_32:
        raise PanobenchError(f"{path}: its 32-bit chunk offsets cannot move beyond 4 GiB; remux it with 64-bit ones")
    return content[:8] + struct.pack(f">{count}{letter}", *offsets)


def _marked_entry(path: str | Path, data: bytes, entry: _Box) -> bytes:
    """A visual sample entry with the V2 boxes behind its own."""
    inner = _entry_boxes(path, data, entry)
    kept = b"".join(data[box.start : box.end] for box in inner if box.kind not in (b"st3d", b"sv3d"))
    return _pack(entry.kind, data[entry.body : entry.body + _ENTRY_FIELDS] + kept + _v2_boxes())


def _v2_boxes() -> bytes:
    full = bytes(4)  # version and flags
    mono = _pack(b"st3d", full + b"\0")
    header = _pack(b"svhd", full + b"panobench\0")
    pose = _pack(b"prhd", full + struct.pack(">3i", 0, 0, 0))  # yaw, pitch, roll
    sphere = _pack(b"equi", full + struct.pack(">4I", 0, 0, 0, 0))  # nothing cut off at top, bottom, left, right
    return mono + _pack(b"sv3d", header + _pack(b"proj", pose + sphere))


def _v1_projection(path: str | Path, xml: bytes) -> str | None:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise PanobenchError(f"{path}: its spherical metadata are not readable XML ({error})") from error
    spherical = (root.findtext(f"{{{_V1_SPACE}}}Spherical") or "").strip().lower()
    return root.findtext(f"{{{_V1_SPACE}}}ProjectionType") if spherical == "true" else None


def _v2_projection(path: str | Path, data: bytes, box: _Box) -> str | None:
    names = {b"equi": "equirectangular", b"cbmp": "cubemap", b"mshp": "mesh"}
    for projection in (child for child in _boxes(path, data, box.body, box.end) if child.kind == b"proj"):
        for child in _boxes(path, data, projection.body, projection.end):
            if child.kind in names:
                return names[child.kind]
    return None


# --- boxes -----------------------------------------------------------------------------------------------------------


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error


def _read_index(path: str | Path) -> bytes:
    """The `moov` box of an MP4; empty if it has none."""
    try:
        with open(path, "rb") as file:
            length = file.seek(0, 2)
            start = 0
            while start < length:
                file.seek(start)
                header = file.read(16)
                size = int.from_bytes(header[:4], "big")
                size = int.from_bytes(header[8:16], "big") if size == 1 else size or length - start
                whole = size >= 8 and start + size <= length
                if header[4:8] == b"moov" and whole:
                    file.seek(start)
                    return file.read(size)
                if not whole:
                    raise PanobenchError(f"{path}: not an MP4, or a damaged one (at byte {start})")
                start += size
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error
    return b""


def _boxes(path: str | Path, data: bytes, start: int, end: int) -> Iterator[_Box]:
    """The boxes side by side in `data[start:end]`."""
    while start < end:
        size, kind, body = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:  # a 64-bit size follows
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        elif size == 0:  # to the end
            size = end - start
        if size < body - start or start + size > end:
            raise PanobenchError(f"{path}: not an MP4, or a damaged one (at byte {start})")
        yield _Box(kind, start, body, start + size)
        start += size


def _descend(path: str | Path, data: bytes, start: int, end: int) -> Iterator[_Box]:
    """All boxes of video tracks, in any depth, besides the containers of tracks themselves."""
    for box in _boxes(path, data, start, end):
        if box.kind == b"trak" and not _is_video(path, data, box):
            continue
        yield box
        if box.kind in _CONTAINERS:
            yield from _descend(path, data, box.body, box.end)


def _entries(path: str | Path, data: bytes, stsd: _Box) -> list[_Box]:
    return list(_boxes(path, data, stsd.body + 8, stsd.end))  # behind version, flags and number of entries


def _entry_boxes(path: str | Path, data: bytes, entry: _Box) -> list[_Box]:
    if entry.body + _ENTRY_FIELDS > entry.end:
        raise PanobenchError(f"{path}: damaged: its sample entry is too short")
    return list(_boxes(path, data, entry.body + _ENTRY_FIELDS, entry.end))


def _is_video(path: str | Path, data: bytes, trak: _Box) -> bool:
    """Whether the track's handler says video."""
    for media in (box for box in _boxes(path, data, trak.body, trak.end) if box.kind == b"mdia"):
        for box in _boxes(path, data, media.body, media.end):
            if box.kind == b"hdlr":
                return data[box.body + 8 : box.body + 12] == b"vide"
    return False


def _is_v1(data: bytes, box: _Box) -> bool:
    return box.kind == b"uuid" and data[box.body : box.body + 16] == _V1_UUID


def _pack(kind: bytes, content: bytes) -> bytes:
    size = len(content) + 8
    if size > _LARGEST_32:
        return struct.pack(">I4sQ", 1, kind, size + 8) + content
    return struct.pack(">I4s", size, kind) + content
