"""The steps from raw footage to an encoded training set, wired for the pipeline and for `panobench data build`.

Both are the same steps over two arrangements of folders: under DVC each step has an output of its own, in a built set
everything lies together, in WEB360's layout.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from core.data.work import ALL
from core.errors import PanobenchError
from core.files import atomic_path, write_json
from core.params_schema import Params
from core.shards import Shard

STEPS = ("probe", "split", "caption", "flow", "encode", "check")


@dataclass(frozen=True)
class Layout:
    """Where the steps put things."""

    probe: Path
    dataset: Path
    test: str  # name of the other split beside `train`
    captions: Path  # clips CSV with captions, in a folder of its own
    flows: Path
    cache: Path
    checked: Path  # says that the set is whole
    partial: Path
    together: bool  # the set lies in one folder

    @classmethod
    def pipeline(cls, params: Params) -> Layout:
        """Under `outputs/<profile>`."""
        root = params.outputs
        return cls(
            probe=root / "probe",
            dataset=root / "dataset",
            test="reference",
            captions=root / "captions/clips.csv",
            flows=root / "flows",
            cache=root / "cache",
            checked=root / "check.json",
            partial=root / "partial",
            together=False,
        )

    @classmethod
    def built(cls, root: Path) -> Layout:
        """A set of its own in one folder."""
        return cls(
            probe=root / "probe",
            dataset=root,
            test="test",
            captions=root / ".build/captions/clips.csv",
            flows=root / "train/flows",
            cache=root / "cache",
            checked=root / ".build/check.json",
            partial=root / ".build",
            together=True,
        )


def probe(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Judge raw footage; of other sources there is nothing to judge."""
    from core.data.existing import find_set
    from core.data.probe import probe_stage

    raw = Path(params.dataset.source)
    if params.dataset.source == "nano" or find_set(raw):
        kind = "the procedural world" if params.dataset.source == "nano" else "a set in WEB360's layout"
        write_json(layout.probe / "source.json", {"source": params.dataset.source, "kind": kind})
        return True
    return probe_stage(
        raw,
        layout.probe,
        layout.partial / "probe",
        params.video.height,
        params.dataset.frames,
        params.dataset.crop_eye,
        shard,
    )


def split(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Film, take or cut the clips."""
    dataset, partial = params.dataset, layout.partial / "split"
    if dataset.source == "nano":
        from core.data.film import film_stage

        return film_stage(params, layout.dataset, partial, shard)
    from core.data.existing import find_set, take_stage
    from core.data.split import SplitSettings, split_stage

    if find_set(Path(dataset.source)):
        return take_stage(Path(dataset.source), layout.dataset, partial, dataset.test_share, params.seed, shard)
    settings = SplitSettings(
        params.video.height,
        dataset.frames,
        dataset.per_source,
        dataset.test_share,
        params.seed,
        dataset.keep_flagged,
    )
    names = ("train", layout.test)
    sources = layout.probe / "sources.jsonl"
    return split_stage(Path(dataset.source), sources, layout.dataset, partial, settings, names, layout.together, shard)


def caption(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Caption the training clips; in a built set the test clips too, each table in place."""
    from core.data.caption import caption_stage
    from core.data.clips import has_clips

    if not layout.together:
        table = layout.dataset / "train/clips.csv"
        return caption_stage(table, layout.captions, params.caption, layout.partial / "caption", shard)
    complete = True
    for name in ("train", layout.test):
        table = layout.dataset / name / "clips.csv"
        made = layout.captions.parent.with_name(f"captions-{name}") / "clips.csv"
        if not has_clips(table):
            continue
        done = caption_stage(table, made, params.caption, layout.partial / f"caption-{name}", shard)
        if done and made.read_bytes() != table.read_bytes():
            with atomic_path(table) as temporary:
                shutil.copyfile(made, temporary)
        complete &= done
    return complete


def flow(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Estimate the optical flow of the training clips."""
    from core.data.flowstage import flow_stage

    return flow_stage(
        layout.dataset / "train/clips.csv", layout.flows, layout.partial / "flow", params.flow, shard, layout.together
    )


def encode(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Encode the training clips for all trainings."""
    from core.data.encode import encode_stage

    ready = None if layout.together or params.dataset.source == "nano" else Path(params.dataset.source) / "cache"
    table = layout.dataset / "train/clips.csv" if layout.together else layout.captions
    return encode_stage(
        params,
        layout.dataset / "train/videos",
        table,
        layout.flows,
        layout.cache,
        layout.partial / "encode",
        ready,
        shard,
    )


def check(params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Verify everything, or say what is wrong; whether all shares are verified.

    Raises:
        PanobenchError: the set is broken.
    """
    from core.data.check import all_shares_whole, check_set, refuse_broken
    from core.data.clips import has_clips, read_clips

    train = layout.dataset / "train"
    table = train / "clips.csv" if layout.together else layout.captions
    problems = check_set(table, train / "videos", layout.flows, shard=shard)
    other = layout.dataset / layout.test
    if has_clips(other / "clips.csv"):
        captioned = layout.together and bool(params.caption.captioner)
        problems += check_set(other / "clips.csv", other / "videos", None, need_captions=captioned, shard=shard)
    refuse_broken(problems, str(layout.dataset))
    media = (train / "videos", layout.flows, other / "videos")
    if not all_shares_whole(layout.partial / "check", table, media, shard):
        return False
    if not layout.together:
        write_json(layout.checked, {"clips": len(read_clips(table)), "problems": 0})
    return True


def run_step(name: str, params: Params, layout: Layout, shard: Shard = ALL) -> bool:
    """Run one of `STEPS`; whether it is complete."""
    steps = {"probe": probe, "split": split, "caption": caption, "flow": flow, "encode": encode, "check": check}
    if name not in steps:
        raise PanobenchError(f"unknown step '{name}'; known: {', '.join(STEPS)}")
    return steps[name](params, layout, shard)
