"""Where the study and its votes are when a command does not say: where the environment names, else in the project."""

import os
from pathlib import Path

from study_app.bundle import PREPARE, STUDY_FILE, Bundle, BundleError


def find_bundle(start: str | Path | None = None) -> Path:
    """The bundle to show: PANOBENCH_STUDY, else the newest `outputs/*/study` of the project.

    PANOBENCH_STUDY may name the folder or its study.json. Without it, the project is looked for from ``start`` (the
    working directory) upwards, then around this file.

    Raises:
        BundleError: there is none; the message names the command that makes one.
    """
    named = os.environ.get("PANOBENCH_STUDY")
    if named:
        path = Path(named)
        return path.parent if path.name == STUDY_FILE else path
    found: list[Path] = []
    for root in (_project_root(start or Path.cwd()), _project_root(Path(__file__).parent)):
        found = found or list(root.glob(f"outputs/*/study/{STUDY_FILE}"))
    if not found:
        raise BundleError(f"there is no study bundle yet: run `make repro`, or {PREPARE}")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def default_database(bundle: Bundle) -> str:
    """PANOBENCH_STUDY_DB, else `votes/<study id>.sqlite` at the root of the project that holds the bundle."""
    named = os.environ.get("PANOBENCH_STUDY_DB")
    if named:
        return named
    return str(_project_root(bundle.folder) / "votes" / f"{bundle.study.study_id}.sqlite")


def _project_root(start: str | Path) -> Path:
    """The nearest folder from ``start`` upwards with a .dvc or .git folder; ``start`` itself if there is none."""
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        if (folder / ".dvc").is_dir() or (folder / ".git").exists():
            return folder
    return start
