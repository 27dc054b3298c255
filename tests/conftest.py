"""What tests need from the machine, and the tiny stack. A test that cannot run here says why in pytest's summary."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

# One thread: tests are tiny, their numbers must not depend on the machine's cores, and those that fork in order to kill
# a stage in its middle must not inherit the locks of a thread pool. Set before anything imports torch.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# On a machine with a GPU too; what runs there is marked gpu and takes the fixture `device`.
os.environ["PANOBENCH_DEVICE"] = "cpu"
# PANOBENCH_TEST_DEVICE=cpu runs the tests marked gpu on a CPU, so that their code can be tried where there is no GPU.
GPU = os.environ.get("PANOBENCH_TEST_DEVICE", "cuda")


def _lacking(item: pytest.Item) -> str | None:
    if item.get_closest_marker("browser") and not chromium_path():
        return "chromium is not installed"
    if item.get_closest_marker("postgres") and not os.environ.get("PANOBENCH_TEST_POSTGRES"):
        return "no PostgreSQL server (PANOBENCH_TEST_POSTGRES is not set)"
    if item.get_closest_marker("gpu") and GPU == "cuda":
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = _lacking(item)
    if reason:
        pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole pipeline first: of two workers one is at it while the other does nearly all the rest."""
    items.sort(key=lambda item: item.path.name != "test_pipeline_smoke.py")


def chromium_path() -> str | None:
    """Debian's or another system's chromium; a test tool's own build has no H.264."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What networks make is kept for these tests only, never in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PANOBENCH_CACHE")
    os.environ["PANOBENCH_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PANOBENCH_CACHE"]
    else:
        os.environ["PANOBENCH_CACHE"] = before


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> "Iterator[torch.device]":
    """The GPU, which the product takes by itself too, computing float32 in full, as the CPU that it is compared with.

    What is left is the order of the sums: a few 1e-7 of the largest value in one operation, about 1e-5 behind a network
    and its gradients. With TF32, the default of CUDA's convolutions, it would be 1e-3.
    """
    import torch

    from core.device import full_float32

    monkeypatch.setenv("PANOBENCH_DEVICE", GPU)
    with full_float32():
        yield torch.device(GPU)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny random base and its motion adapter, of the real classes in the real layout."""
    from tests.tiny import write_tiny_base

    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
