"""Every step killed with SIGKILL at random moments and run again gives what an undisturbed run gives."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.footage import write_footage
from tests.tiny import tiny_params, write_tiny_blip

pytestmark = pytest.mark.slow
KILLS = 6


def contents(folder: Path) -> dict[str, bytes]:
    """What a set holds, but for the notes of the steps about themselves."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".build" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def paths(folder: Path) -> set[Path]:
    """Every file, also what is under way."""
    return {path for path in folder.rglob("*") if path.is_file()}


def start(root: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", "import panobench; panobench.main()", "data", "build", str(root / "raw")]
    command += ["--out", str(out), "--captioner", str(root / "blip"), "--params", str(root / "params.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen(
        [*command, "--frames", "12"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def test_kills_at_random_moments_change_nothing(tiny_base, tmp_path):
    write_footage(tmp_path / "raw")
    write_tiny_blip(tmp_path / "blip")
    params = tiny_params(tiny_base).model_dump(exclude_none=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    process = start(tmp_path, tmp_path / "undisturbed")
    assert process.wait() == 0, process.stderr.read().decode()[-2000:]
    expected = contents(tmp_path / "undisturbed")
    assert {"train/clips.csv", "cache/index.json", "report.html", "probe/report.html"} <= set(expected)

    rng, out, killed = random.Random(6), tmp_path / "killed", 0
    most = len(paths(tmp_path / "undisturbed")) // 4  # new files before a kill: an attempt from nothing never ends
    for _ in range(20 * KILLS):
        before, patience = paths(out), rng.randint(1, most)
        process = start(tmp_path, out)
        while process.poll() is None and len(paths(out) - before) < patience:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0, process.stderr.read().decode()[-2000:]
            break
        # What is in place is whole, at any moment; lists of clips gain their captions later.
        for name, content in contents(out).items():
            if not name.endswith("/clips.csv"):
                assert expected[name] == content, name
    else:
        pytest.fail("the build never came to its end")
    assert killed >= 2
    found = contents(out)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_three_processes_make_what_one_makes(tiny_base, tmp_path):
    """Shares of `rank::world`, at the same time and over one folder; the last to finish moves things into place."""
    write_footage(tmp_path / "raw")
    params = tiny_params(tiny_base, dataset={"source": str(tmp_path / "raw"), "frames": 12})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(exclude_none=True)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}

    def run(folder: Path, step: str, *options: str) -> subprocess.Popen:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", "import panobench; panobench.main()", "data", step]
        command += ["--params", str(tmp_path / "params.yaml"), *options]
        return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)

    for step in ("probe", "split", "flow"):
        assert run(tmp_path / "one", step).wait() == 0
        shares = [run(tmp_path / "three", step, "--rank", str(rank), "--world", "3") for rank in range(3)]
        assert [share.wait() for share in shares] == [0, 0, 0]
    one, three = (contents_of_pipeline(tmp_path / name / "outputs/tiny") for name in ("one", "three"))
    assert one == three
    assert any(name.startswith("flows/") for name in one)


def contents_of_pipeline(folder: Path) -> dict[str, bytes]:
    """Outputs, without what is under way."""
    return {name: data for name, data in contents(folder).items() if not name.startswith("partial/")}
