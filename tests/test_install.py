"""scripts/install: which Python it takes, and what it asks pip and uv for. The installer itself is played by a script.

That the lock installs for real is what `make test` in a fresh clone shows: it is how this test came to run.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Answers the question for a suitable version, makes an "environment" of itself, and notes every other call.
PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit {old} ;;
    --version) echo Python 3.9.9 ;;
    "-m venv .venv")
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        printf '#!/bin/sh\\necho uv "$@" >>calls' >.venv/bin/uv
        chmod +x .venv/bin/uv ;;
    *) echo pip "$@" >>calls ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy2(ROOT / "scripts/install", tmp_path / "scripts")
    shutil.copy2(ROOT / "requirements.lock", tmp_path)
    return tmp_path


def install(folder: Path, torch: str, suitable: bool = True) -> subprocess.CompletedProcess[str]:
    tools = folder / "tools"
    tools.mkdir()
    for name in ("python3.11", "python3.12", "python3.13", "python3", "python"):
        (tools / name).write_text(PYTHON.format(old=0 if suitable else 1))
        (tools / name).chmod(0o755)
    environment = {"PATH": os.pathsep.join([str(tools), "/usr/bin", "/bin"]), "HOME": str(folder)}
    return subprocess.run(
        [folder / "scripts/install", torch], env=environment, capture_output=True, text=True, check=False
    )


def test_an_old_python_is_said_clearly(folder: Path) -> None:
    done = install(folder, "cuda", suitable=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "panobench needs Python 3.11 or newer with venv (found: Python 3.9.9); install it, or"
    )
    assert done.stderr.count("\n") == 1
    assert not (folder / ".venv").exists()


def test_an_unknown_kind_of_torch_is_refused(folder: Path) -> None:
    done = install(folder, "rocm")
    assert (done.returncode, done.stderr) == (2, "TORCH is 'rocm', expected cuda or cpu\n")


def test_cuda_takes_every_package_by_its_hash(folder: Path) -> None:
    done = install(folder, "cuda")
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().splitlines()
    assert calls[0].endswith("install --require-hashes -r requirements.lock")
    assert "--no-index" in calls[1]
    assert (folder / ".venv/installed-cuda").exists()


def test_cpu_takes_all_but_torch_by_its_hash_and_the_pair_at_the_locked_versions(folder: Path) -> None:
    done = install(folder, "cpu")
    assert done.returncode == 0, done.stderr
    kept = (folder / ".venv/without-torch.lock").read_text()
    names = {line.split("==")[0] for line in kept.splitlines() if line[:1].isalnum()}
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    everything = {line.split("==")[0] for line in locked if line[:1].isalnum()}
    gone = everything - names
    assert {"torch", "torchvision", "triton"} <= gone
    assert all(name in ("torch", "torchvision", "triton") or name.startswith(("nvidia-", "cuda-")) for name in gone)
    assert kept.count("--hash=") == sum(line.count("--hash=") for line in locked) - _hashes_of(gone, locked)
    calls = (folder / "calls").read_text().splitlines()
    assert "install --require-hashes --no-deps -r .venv/without-torch.lock" in calls[0]
    pair = [line.split()[0] for line in locked if line.startswith(("torch==", "torchvision=="))]
    assert calls[1].endswith(f"--no-deps --torch-backend cpu {' '.join(pair)}")
    assert (folder / ".venv/installed-cpu").exists()


def _hashes_of(names: set[str], locked: list[str]) -> int:
    count, inside = 0, False
    for line in locked:
        if line[:1].isalnum():
            inside = line.split("==")[0] in names
        count += inside and "--hash=" in line
    return count


def test_the_lock_names_no_index_and_hashes_every_package() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    for block in text.split("\n")[2:]:
        if block[:1].isalnum():
            assert block.endswith("\\"), block
