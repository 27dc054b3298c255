"""What tests need from the machine, and the tiny stack. A test that cannot run here says why in pytest's summary."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

# One thread: tests are tiny, their numbers must not depend on the machine's cores, and those that fork in order to kill
# a stage in its middle must not inherit the locks of a thread pool. Set before anything imports torch.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def _lacking(item: pytest.Item) -> str | None:
    if item.get_closest_marker("browser") and not chromium_path():
        return "chromium is not installed"
    if item.get_closest_marker("postgres") and not os.environ.get("PANOBENCH_TEST_POSTGRES"):
        return "no PostgreSQL server (PANOBENCH_TEST_POSTGRES is not set)"
    if item.get_closest_marker("gpu"):
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
