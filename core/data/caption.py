"""`panobench data caption`: 360 Text Fusion. Four views are captioned, and their captions fused into one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from core.data.clips import YAWS, Clip, read_clips, video_path, write_clips
from core.data.fusion import fuse_captions
from core.data.work import ALL, Step, stamp
from core.errors import PanobenchError
from core.files import read_json, write_json
from core.params_schema import Caption
from core.shards import Shard

_BLIP_CLIPS = 8  # clips whose views are captioned together


class Fuser(Protocol):
    """Fuses four captions."""

    @property
    def description(self) -> str:
        """What is recorded with a caption."""

    def fuse(self, views: Sequence[str]) -> str:
        """One caption of four, yaw 0, 90, 180, 270 degrees."""


class Rules:
    """The built-in deterministic fusion: no network, no model."""

    description = "rules"

    def fuse(self, views: Sequence[str]) -> str:
        """See `core.data.fusion`."""
        return fuse_captions(views)


def caption_stage(
    clips_csv: Path,  # with `videos/` beside it
    output: Path,  # a clips CSV in a folder of its own
    settings: Caption,
    partial: Path,
    shard: Shard = ALL,
) -> bool:
    """Write the clips with their captions; whether all have one.

    Clips that come with captions (`caption.captioner: given`) need columns yaw_0 to yaw_270, or, as in WEB360, a
    caption in `name` already, which is kept. Columns of the result: the CSV's own, the four views', `whole` (of the
    whole ERP, for the ablation), `captioner` and `fusion`: what made the caption.

    Raises:
        PanobenchError: no captions are given, or a model or an endpoint is not there.
    """
    clips = read_clips(clips_csv, need_captions=False)
    given = settings.captioner == "given"
    if given:
        described = [[clip.videoid, clip.name, *(clip.columns.get(c, "") for c in (*YAWS, "whole"))] for clip in clips]
    else:
        described = [stamp(video_path(clips_csv.parent / "videos", clip.videoid)) for clip in clips]
    fuser = make_fuser(settings)
    size = 1 if given else _BLIP_CLIPS
    _announce(fuser, clips)
    describe = _given(clips_csv) if given else _blip(clips_csv, settings, YAWS)

    def make(folder: Path, group: Sequence[Clip]) -> None:
        todo = [clip for clip in group if not (folder / "views" / f"{clip.videoid}.json").exists()]
        for clip, views in zip(todo, describe(todo), strict=True):
            write_json(folder / "views" / f"{clip.videoid}.json", views)
        for clip in group:
            path = folder / f"{clip.videoid}.json"
            if not path.exists():
                write_json(path, _fused(read_json(folder / "views" / f"{clip.videoid}.json"), fuser, settings))

    def finish(folder: Path) -> None:
        columns = dict.fromkeys([*clips[0].columns, *YAWS, "whole", "captioner", "fusion"])
        rows = []
        for clip in clips:
            made = read_json(folder / f"{clip.videoid}.json")
            rows.append(Clip(clip.videoid, made["name"], {**clip.columns, **made}))
        write_clips(folder / output.name, rows, list(columns))
        for leftover in [*folder.glob("*.json"), *(folder / "views").glob("*.json")]:
            if leftover.name != ".inputs.json":
                leftover.unlink()
        (folder / "views").rmdir()

    return Step(
        name="caption",
        unit="clip" if given else f"{size} clips",
        partial=partial,
        final=output.parent,
        inputs={"described": described, "settings": settings.model_dump(), "fusion": fuser.description},
        items=[clips[first : first + size] for first in range(0, len(clips), size)],
        path=lambda folder, group: folder / f"{group[-1].videoid}.json",
        make=make,
        finish=finish,
    ).run(shard)


def make_fuser(settings: Caption) -> Fuser:
    """What `caption.fusion` names."""
    if settings.fusion == "rules" or settings.whole_erp:
        return Rules()
    from core.data.chat import ChatFuser, LocalFuser

    if settings.fusion == "chat":
        return ChatFuser.from_environment()
    from core.device import default_device

    if not settings.fusion_model:
        raise PanobenchError("caption.fusion is 'local'; set caption.fusion_model to a chat model's folder or hub id")
    return LocalFuser(settings.fusion_model, default_device())


def _announce(fuser: Fuser, clips: Sequence[Clip]) -> None:
    """Print what a paid endpoint will be asked for, before it is."""
    estimate: Callable[[int, float], str] | None = getattr(fuser, "estimate", None)
    if estimate is None:
        return
    letters = [sum(len(clip.columns.get(yaw, "")) for yaw in YAWS) for clip in clips]
    known = [number for number in letters if number] or [4 * 50]
    print(f"caption: {estimate(len(clips), sum(known) / len(known))}", file=sys.stderr)


def _given(clips_csv: Path) -> Callable[[Sequence[Clip]], list[dict[str, str]]]:
    """The captions that the CSV brings."""

    def describe(clips: Sequence[Clip]) -> list[dict[str, str]]:
        return [_of_row(clip, clips_csv) for clip in clips]

    return describe


def _of_row(clip: Clip, source: Path) -> dict[str, str]:
    whole = clip.columns.get("whole") or clip.name
    if all(clip.columns.get(yaw) for yaw in YAWS):
        return {yaw: clip.columns[yaw] for yaw in YAWS} | {"whole": whole, "captioner": "given"}
    if any(clip.columns.get(yaw) for yaw in YAWS) or not clip.name:
        raise PanobenchError(
            f"{source}: clip {clip.videoid} has no captions of its four views; set caption.captioner to a BLIP folder "
            "or hub id (or pass --captioner), such as Salesforce/blip-image-captioning-large"
        )
    fusion = clip.columns.get("fusion") or "given"
    return {"name": clip.name, "whole": whole, "captioner": clip.columns.get("captioner") or "given", "fusion": fusion}


def _blip(
    clips_csv: Path, settings: Caption, columns: Sequence[str]
) -> Callable[[Sequence[Clip]], list[dict[str, str]]]:
    """Captions by BLIP, of each clip's middle frame; the model is loaded when the first clip needs it."""
    loaded: list[Any] = []

    def describe(clips: Sequence[Clip]) -> list[dict[str, str]]:
        from core.data.captioner import Blip, views_of
        from core.device import default_device
        from core.video import read_video

        if not clips:
            return []
        if not loaded:
            loaded.append(Blip(settings.captioner, default_device()))
        pictures = []
        for clip in clips:
            frames = read_video(video_path(clips_csv.parent / "videos", clip.videoid)).frames
            middle = frames[len(frames) // 2]
            pictures += [*views_of(middle), middle]
        texts: list[str] = []
        for first in range(0, len(pictures), settings.batch):
            texts += loaded[0].describe(pictures[first : first + settings.batch])
        names = [*columns, "whole"]
        return [
            dict(zip(names, texts[first : first + len(names)], strict=True)) | {"captioner": settings.captioner}
            for first in range(0, len(texts), len(names))
        ]

    return describe


def _fused(views: dict[str, str], fuser: Fuser, settings: Caption) -> dict[str, str]:
    """The clip's new columns, `name` among them."""
    if settings.whole_erp:
        if not views["whole"]:
            raise PanobenchError("caption.whole_erp: a clip has no caption of the whole picture ('whole')")
        return {**views, "name": views["whole"], "fusion": "none (whole ERP)"}
    if "name" in views:  # came with its fused caption
        return views
    return {**views, "name": fuser.fuse([views[yaw] for yaw in YAWS]), "fusion": fuser.description}
