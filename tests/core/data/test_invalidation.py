"""Raw footage under real DVC: files that come, go and change are seen; nothing else is done twice."""

import shutil
from pathlib import Path

import pytest

from core.data.sources import read_sources
from core.video import write_video
from tests.footage import FPS, erp
from tests.smoke import Clone

pytestmark = pytest.mark.slow


def accepted(clone: Clone) -> dict[str, str]:
    return {source.path: source.reason for source in read_sources(clone.outputs / "probe/sources.jsonl")}


def sources(clone: Clone) -> set[str]:
    lines = (clone.outputs / "dataset/train/clips.csv").read_text(encoding="utf-8").splitlines()
    return {line.split(",")[2] for line in lines[1:]}


def test_what_changes_in_the_raw_folder_is_built_anew(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    raw = clone.root / "footage"
    for name, scene in (("a", 0), ("b", 3)):
        write_video(raw / "trip" / f"{name}.mp4", erp(scene, 12), FPS)
    clone.params["dataset"].update(source="footage", watch="footage", test_share=0.0)
    clone.save()

    assert clone.repro("split") == ["probe", "split"]
    assert sources(clone) == {"trip/a.mp4", "trip/b.mp4"}
    assert clone.repro("split") == []

    write_video(raw / "c.mp4", erp(5, 12), FPS)
    assert clone.repro("split") == ["probe", "split"]
    assert sources(clone) == {"c.mp4", "trip/a.mp4", "trip/b.mp4"}

    # Another film of the same name, size and length: all that probing writes down of it may stay as it was.
    before = {path.name: path.read_bytes() for path in (clone.outputs / "dataset/train/videos").glob("b_*")}
    write_video(raw / "trip/b.mp4", erp(9, 12), FPS)
    assert clone.repro("split") == ["probe", "split"]
    after = {path.name: path.read_bytes() for path in (clone.outputs / "dataset/train/videos").glob("b_*")}
    assert sorted(after) == sorted(before)
    assert all(after[name] != before[name] for name in after)

    (raw / "trip/a.mp4").unlink()
    assert clone.repro("split") == ["probe", "split"]
    assert sources(clone) == {"c.mp4", "trip/b.mp4"}
    assert clone.repro("split") == []

    # Moved as a whole it is read anew; what comes out is the same.
    shutil.move(raw, clone.root / "moved")
    clone.params["dataset"].update(source="moved", watch="moved")
    clone.save()
    assert clone.repro("split") == ["probe", "split"]
    assert sources(clone) == {"c.mp4", "trip/b.mp4"}


def test_the_procedural_world_is_filmed_once(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    assert clone.repro("split") == ["probe", "split"]
    again = clone.run("dvc", "repro", "split")
    assert "Data and pipelines are up to date." in again.stdout + again.stderr
    assert "Running stage" not in again.stdout
