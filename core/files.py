"""Files that are either complete or absent: temporary name, fsync, rename."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import PanobenchError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def disk_full(error: BaseException) -> bool:
    """Whether this exception, or the one that caused it, says that no space is left.

    Libraries that write through C code (FFmpeg, safetensors, Arrow) raise their own types; those that carry no
    ``errno`` still carry the operating system's words.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if getattr(current, "errno", None) in _DISK_FULL or "No space left on device" in str(current):
            return True
        current = current.__cause__ or current.__context__
    return False


def write_error(path: str | Path, error: BaseException) -> PanobenchError:
    """The line to show when ``path`` could not be written because of ``error``."""
    if disk_full(error):
        return PanobenchError(f"{path}: the disk is full; free some space and run the same command again")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return PanobenchError(f"{path}: cannot be written ({reason})")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block succeeds.

    The temporary name keeps the suffix, so that writers that choose a format by suffix work. On any failure (also
    KeyboardInterrupt) the temporary file is removed and ``path`` is as it was. After a kill, what may remain is a
    hidden ``.NAME.PID.tmpSUFFIX``, which nothing reads and the next write of the same name removes.

    Raises:
        PanobenchError: the disk is full, or the place cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path.parent, error) from error
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) or (isinstance(error, Exception) and disk_full(error)):
            raise write_error(path, error) from error
        raise


@contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; a second process waits for its turn.

    A killed `dvc repro` can leave the stage's own process behind, still at work; the next reproduction then waits for
    it here, and finds its results, instead of writing the same files at the same time. The lock goes with the process,
    however it ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"waiting for process {file.read().strip() or '?'}, which is at work on {path.stem}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` whose writing process is gone."""
    prefix, suffix = f".{path.stem}.", f".tmp{path.suffix}"
    for leftover in path.parent.glob(f".{_escape(path.stem)}.*.tmp{_escape(path.suffix)}"):
        pid = leftover.name.removeprefix(prefix).removesuffix(suffix)
        if pid.isdigit() and int(pid) != os.getpid() and not _alive(int(pid)):
            leftover.unlink(missing_ok=True)


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON atomically: two-space indent, keys in the order given, newline at the end.

    NaN and infinity are refused (ValueError): they are not JSON, and other readers choke on them.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or malformed one is a PanobenchError that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PanobenchError(f"{path}: not a readable JSON file ({error})") from error


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error


def publish_directory(partial: str | Path, final: str | Path) -> None:
    """Move a finished directory into place, replacing what stands there.

    Both must be on one file system (they are: both live under ``outputs/``), so the move is a rename.
    """
    partial, final = Path(partial), Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
