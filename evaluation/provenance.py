"""What made a result: commit, command, versions."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Packages whose version can change a number.
PACKAGES = ("panobench", "torch", "open_clip_torch", "diffusers", "opencv-python-headless", "av", "numpy", "scipy")


def git_state(folder: str | Path = ".") -> tuple[str | None, bool]:
    """Commit and whether tracked files differ from it; (None, False) outside a repository or without git.

    ``dvc.lock`` does not count: running the pipeline writes it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, False
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)dvc.lock")
    return commit, bool(changed)


def _git(folder: str | Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Python and the packages that can change a number, those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
