"""Files are complete or absent, also when the disk is full or the writer is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import PanobenchError
from core.files import atomic_path, exclusive, publish_directory, read_json, sha256, write_json

ROOT = Path(__file__).parents[1]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})

    def write_half() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_half()
    assert read_json(file) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_temporary_name_keeps_the_suffix_and_hides(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "a.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"x")
    assert sha256(tmp_path / "deep" / "a.mp4") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    code = (
        "import sys, time\nfrom core.files import atomic_path\n"
        f"with atomic_path({str(file)!r}) as t:\n    t.write_text('half'); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert file.read_text() == "old"
    with atomic_path(file) as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "new"


def test_a_full_disk_is_one_line_and_no_file(small_disk: Path) -> None:
    file = small_disk / "big.bin"
    with pytest.raises(PanobenchError) as caught, atomic_path(file) as temporary:
        temporary.write_bytes(bytes(1 << 20))
    assert str(caught.value) == f"{file}: the disk is full; free some space and run the same command again"
    assert os.listdir(small_disk) == []


def test_a_video_on_a_full_disk_is_one_line_and_no_file(small_disk: Path) -> None:
    import numpy as np

    from core.video import write_video

    noise = np.random.default_rng(0).integers(0, 256, (24, 128, 256, 3), dtype=np.uint8)
    with pytest.raises(PanobenchError, match="the disk is full"):
        write_video(small_disk / "clip.mp4", noise, 8)
    assert os.listdir(small_disk) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PanobenchError, match="cannot be written"), atomic_path(tmp_path / "file" / "x"):
        pass


def test_publishing_replaces_a_folder(tmp_path: Path) -> None:
    for name, content in (("old", "1"), ("new", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text(content)
    publish_directory(tmp_path / "new", tmp_path / "old")
    assert os.listdir(tmp_path) == ["old"]
    assert os.listdir(tmp_path / "old") == ["2"]


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(PanobenchError, match="not a readable JSON file"):
        read_json(tmp_path / "b.json")


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    lock, log = tmp_path / "stage.lock", tmp_path / "log"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom core.files import exclusive\n"
        f"with exclusive({str(lock)!r}):\n"
        f"    print('in', flush=True); time.sleep(1); open({str(log)!r}, 'a').write('first ')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    start = time.monotonic()
    with exclusive(lock), open(log, "a") as file:
        file.write("second")
    assert time.monotonic() - start > 0.1
    assert log.read_text() == "first second"
    process.wait()
