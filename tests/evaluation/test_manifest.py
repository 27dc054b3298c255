import json
from pathlib import Path

import pytest

from core.errors import PanobenchError
from core.files import sha256
from evaluation.manifest import read_manifest, read_prompts, read_videos
from tests.evaluation.worlds import FPS, write_set

ROW = {
    "id": "dunes-0", "method": "m", "prompt_id": "dunes", "prompt": "sand dunes", "seed": 0, "path": "dunes-0.mp4",
    "frames": 4, "fps": FPS, "height": 32, "width": 64, "sha256": "0" * 64, "provenance": {"recipe_sha256": "x"},
}  # fmt: skip


def write_manifest(folder: Path, rows: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row_of(file: Path, **changes: object) -> dict:
    return ROW | {"id": file.stem, "path": file.name, "sha256": sha256(file)} | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_set(tmp_path / "mine", ["meadow", "dunes"])
    return tmp_path / "mine"


def test_a_folder_of_mp4s_is_a_set(folder: Path):
    (folder / ".dunes.123.tmp.mp4").write_bytes(b"half")  # a writer at work
    videos = read_videos(folder)
    assert videos.method == "mine"
    assert [item.video_id for item in videos.items] == ["dunes", "meadow"]
    assert [item.prompt for item in videos.items] == [None, None]
    assert videos.problems == ()
    assert read_videos(folder, method="other").items[0].method == "other"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", 'video,prompt\ndunes.mp4,sand dunes\nmeadow,"green, wide"\n'),
        ("p.csv", 'videoid,name,fps\ndunes,sand dunes,8\nmeadow,"green, wide",8\n'),
        ("p.json", '{"dunes": "sand dunes", "meadow.mp4": "green, wide"}'),
        ("p.yaml", "dunes: sand dunes\nmeadow: green, wide\n"),
        ("p.yaml", "prompts:\n- {id: dunes, prompt: sand dunes}\n- {id: meadow, prompt: 'green, wide'}\n"),
    ],
)
def test_prompts_files(folder: Path, tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    videos = read_videos(folder, tmp_path / name)
    assert [(item.prompt_id, item.prompt) for item in videos.items] == [
        ("dunes", "sand dunes"),
        ("meadow", "green, wide"),
    ]


def test_several_videos_of_one_prompt_share_it(tmp_path: Path):
    write_set(tmp_path / "v", ["dunes-0", "dunes-1", "sea-2-1"])
    (tmp_path / "p.json").write_text('{"dunes": "sand", "sea-2": "water"}')
    items = read_videos(tmp_path / "v", tmp_path / "p.json").items
    assert [(i.prompt_id, i.seed) for i in items] == [("dunes", 0), ("dunes", 1), ("sea-2", 1)]


def test_prompts_and_videos_without_each_other_are_named(folder: Path, tmp_path: Path):
    (tmp_path / "p.csv").write_text("video,prompt\ndunes,sand\nsea,water\n")
    videos = read_videos(folder, tmp_path / "p.csv")
    assert [item.video_id for item in videos.items] == ["dunes"]
    lines = [str(problem) for problem in videos.problems]
    assert len(lines) == 2
    assert "meadow.mp4: no prompt for it" in lines[0]
    assert "sea: a prompt in" in lines[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "dunes", "'.txt'"),
        ("p.csv", "file,text\na,b\n", "needs the columns video,prompt"),
        ("p.csv", "video,prompt\n", "no prompts in this file"),
        ("p.csv", "video,prompt\na,b\na,c\n", "'a' occurs twice"),
        ("p.csv", "video,prompt\na\n", "empty prompt for 'a'"),
        ("p.json", "[1, 2]", "expected a mapping"),
        ("p.json", '{"a": 3}', "must be text, found int"),
        ("p.yaml", "a: [", "not readable"),
    ],
)
def test_bad_prompts_files_are_one_clear_line(tmp_path: Path, name: str, content: str, message: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(PanobenchError, match=message) as caught:
        read_prompts(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_is_read_from_its_folder_or_by_name(folder: Path):
    files = sorted(folder.glob("*.mp4"))
    path = write_manifest(folder, [row_of(f, prompt_id=f.stem, prompt=f"a {f.stem}") for f in reversed(files)])
    for source in (folder, path):
        videos = read_videos(source)
        assert [(i.video_id, i.prompt, i.method) for i in videos.items] == [
            ("dunes", "a dunes", "m"),
            ("meadow", "a meadow", "m"),
        ]
    assert read_manifest(path)[0].provenance == {"recipe_sha256": "x"}


def test_a_row_without_file_and_a_file_without_row_are_named(folder: Path):
    write_manifest(folder, [row_of(folder / "dunes.mp4"), ROW | {"id": "gone", "path": "gone.mp4"}])
    lines = [str(problem) for problem in read_videos(folder).problems]
    assert lines == ["gone.mp4: in the manifest, but there is no such file", "meadow.mp4: not in manifest.jsonl"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        ([{k: v for k, v in ROW.items() if k != "seed"}], "manifest.jsonl:1: seed: "),
        ([ROW | {"colour": "red"}], "manifest.jsonl:1: colour: "),
        ([ROW | {"frames": "many"}], "manifest.jsonl:1: frames: "),
        ([ROW, ROW | {"path": "b.mp4"}], "id 'dunes-0' occurs twice"),
        ([ROW, ROW | {"id": "b"}], "path 'dunes-0.mp4' occurs twice"),
        ([ROW, ROW | {"id": "b", "path": "b.mp4", "method": "n"}], "one method per manifest, found m, n"),
    ],
)
def test_bad_manifests_are_one_clear_line(tmp_path: Path, rows: list[dict], message: str):
    path = write_manifest(tmp_path / "x", rows)
    with pytest.raises(PanobenchError, match=message):
        read_videos(path)


def test_other_bad_sources_are_one_clear_line(folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.jsonl").write_text("{not json}\n")
    for source, message in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "empty", "no video in this folder"),
        (folder / "dunes.mp4", "expected a folder"),
        (tmp_path / "x.jsonl", "x.jsonl:1: not JSON"),
    ):
        with pytest.raises(PanobenchError, match=message):
            read_videos(source)
    write_manifest(folder, [ROW])
    with pytest.raises(PanobenchError, match="holds its own prompts"):
        read_videos(folder, tmp_path / "p.csv")
