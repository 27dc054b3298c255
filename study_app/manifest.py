"""Reading the manifests of the methods and choosing what is compared: one video per method and prompt."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanobenchError


class ManifestError(PanobenchError):
    """A manifest is unreadable, or the manifests do not fit each other."""


class Row(BaseModel):
    """What the study needs of a manifest row; other keys are for others."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(min_length=1)
    method: str = Field(min_length=1)
    prompt_id: str = Field(min_length=1)
    prompt: str
    path: str = Field(min_length=1)
    seed: int | None = None


@dataclass(frozen=True)
class Source:
    """One video that goes into the study; ``path`` is the file, ``manifest`` the place it was named."""

    row: Row
    path: Path
    manifest: Path


def read_sources(manifests: Iterable[str | Path], sample: int = 0) -> dict[tuple[str, str], Source]:
    """All videos of the study by (method, prompt id), sorted: the order of the manifests does not matter.

    Args:
        manifests: manifest.jsonl files, or folders that hold one.
        sample: which of several videos of one method and prompt is taken, from 0 in the order of the manifest.

    Raises:
        ManifestError: fewer than two methods, a prompt that one method lacks, one prompt id with two texts, or a
            video file that is not there. The message names the manifest and the prompt or file.
    """
    rows: dict[tuple[str, str], list[Source]] = {}
    texts: dict[str, tuple[str, Path]] = {}
    for manifest in manifests:
        path = Path(manifest)
        path = path / "manifest.jsonl" if path.is_dir() else path
        for row in _read_rows(path):
            rows.setdefault((row.method, row.prompt_id), []).append(Source(row, path.parent / row.path, path))
            text, first = texts.setdefault(row.prompt_id, (row.prompt, path))
            if text != row.prompt:
                raise ManifestError(f"{path}: prompt '{row.prompt_id}' is '{row.prompt}' here and '{text}' in {first}")
    methods = sorted({method for method, _ in rows})
    if len(methods) < 2:
        found = f"only '{methods[0]}'" if methods else "none"
        raise ManifestError(f"a study compares at least two methods, found {found}; name more manifests")
    sources = {}
    for method in methods:
        for prompt in sorted(texts):
            candidates = rows.get((method, prompt), [])
            if len(candidates) <= sample:
                raise ManifestError(_too_few(rows, method, prompt, sample))
            source = candidates[sample]
            if not source.path.is_file():
                raise ManifestError(f"{source.path}: no such video, named in {source.manifest} for prompt '{prompt}'")
            sources[method, prompt] = source
    return sources


def _too_few(rows: dict[tuple[str, str], list[Source]], method: str, prompt: str, sample: int) -> str:
    having = [other for (other, shown), found in rows.items() if shown == prompt and len(found) > sample]
    if not having:
        return f"study.sample = {sample}, but no method has {sample + 1} videos for prompt '{prompt}'"
    found, needed = len(rows.get((method, prompt), [])), sample + 1
    return (
        f"method '{method}' has {found} of the {needed} videos needed for prompt '{prompt}', '{having[0]}' has them; "
        "every method needs the same prompts"
    )


def _read_rows(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest; `panobench generate METHOD` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: not a readable text file ({error})") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate(json.loads(line)))
        except json.JSONDecodeError as error:
            raise ManifestError(f"{path}:{number}: not JSON ({error})") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ManifestError(f"{path}:{number}: {where}: {first['msg']}") from error
    if not rows:
        raise ManifestError(f"{path}: holds no video")
    return rows
