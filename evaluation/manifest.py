"""Which videos are scored, for which prompts: ``manifest.jsonl``, or a plain folder of videos with a prompts file.

``manifest.jsonl`` (one JSON object per line, beside its videos) is what generation writes and what scoring and the
study read. An author of another method needs none: a folder of videos is enough (MP4, WebM, MOV, MKV, GIF, or a folder
of PNG or JPEG frames for each), and a prompts file for the metrics that compare a video with its text.

Prompts files, by suffix: ``.csv`` (columns ``video,prompt`` or WEB360's ``videoid,name``), ``.json`` / ``.yaml``
(a mapping ``video: prompt``, or a list of ``{id, prompt}``, also under the key ``prompts``). ``video`` is the file's
or folder's name, with or without suffix. Several videos of one prompt are called ``<prompt id>-<number>.mp4``.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanobenchError
from evaluation.sources import VIDEO_SUFFIXES, is_frame_folder

MANIFEST_NAME = "manifest.jsonl"


class Row(BaseModel):
    """One line of ``manifest.jsonl``; ``path`` is relative to the manifest."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    method: str = Field(min_length=1)
    prompt_id: str = Field(min_length=1)
    prompt: str
    seed: int
    path: str = Field(min_length=1)
    frames: int = Field(ge=1)
    fps: float = Field(gt=0)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    provenance: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """A video to score.

    Attributes:
        video_id: unique name within the set.
        method: who made it.
        prompt_id: what it was made for; the unit of the bootstrap.
        prompt: text, or None if no prompts were given.
        seed: which of the prompt's videos it is.
        path: the file.
        declared: the manifest's row, which the file must agree with; None for a plain folder.
    """

    video_id: str
    method: str
    prompt_id: str
    prompt: str | None
    seed: int
    path: Path
    declared: Row | None = None


@dataclass(frozen=True)
class Problem:
    """Something that keeps a video from being scored: its name, and one line that says why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class VideoSet:
    """The videos of one method, sorted by id, and what was wrong with the rest."""

    method: str
    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = field(default=())


def read_videos(source: str | Path, prompts: str | Path | None = None, method: str | None = None) -> VideoSet:
    """The videos of one method: from a manifest, a folder that holds one, or a plain folder of videos.

    Args:
        source: ``manifest.jsonl`` or a folder.
        prompts: prompts file, for a plain folder only.
        method: name of the method; default: the manifest's, or the folder's name.

    Raises:
        PanobenchError: nothing there to score, or the manifest or prompts file is malformed.
    """
    source = Path(source)
    if not source.exists():
        raise PanobenchError(f"{source}: no such file or folder; give a folder of videos or a {MANIFEST_NAME}")
    if source.is_dir() and (source / MANIFEST_NAME).is_file():
        source = source / MANIFEST_NAME
    if source.is_dir():
        return _read_folder(source, prompts, method)
    if source.suffix != ".jsonl":
        raise PanobenchError(f"{source}: expected a folder of videos or a {MANIFEST_NAME}")
    if prompts is not None:
        raise PanobenchError(f"{source}: a manifest holds its own prompts; leave --prompts out, or remove the manifest")
    return _read_manifest_set(source, method)


def read_manifest(path: str | Path) -> list[Row]:
    """The rows of a ``manifest.jsonl``, in file order, validated; whether the videos exist is not checked.

    Raises:
        PanobenchError: naming the line, for bad JSON, a missing or unknown field, or an id or path used twice.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate(json.loads(line)))
        except json.JSONDecodeError as error:
            raise PanobenchError(f"{path}:{number}: not JSON ({error.msg})") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "row"
            raise PanobenchError(f"{path}:{number}: {key}: {first['msg']}") from None
    if not rows:
        raise PanobenchError(f"{path}: the manifest is empty; generate videos first")
    for what in ("id", "path"):
        _refuse_duplicates(path, what, (getattr(row, what) for row in rows))
    return rows


def _read_manifest_set(path: Path, method: str | None) -> VideoSet:
    rows = read_manifest(path)
    methods = sorted({row.method for row in rows})
    if len(methods) > 1:
        raise PanobenchError(f"{path}: one method per manifest, found {', '.join(methods)}")
    items = []
    problems = []
    for row in rows:
        file = path.parent / row.path
        if not file.exists():
            problems.append(Problem(row.path, "in the manifest, but there is no such file"))
            continue
        items.append(Item(row.id, method or row.method, row.prompt_id, row.prompt, row.seed, file, row))
    listed = {(path.parent / row.path).resolve() for row in rows}
    for stray in videos_in(path.parent):
        if stray.resolve() not in listed:
            problems.append(Problem(stray.name, f"not in {path.name}"))
    return VideoSet(method or methods[0], _sorted(items), tuple(problems))


def _read_folder(folder: Path, prompts_file: str | Path | None, method: str | None) -> VideoSet:
    files = videos_in(folder)
    if not files and is_frame_folder(folder):
        raise PanobenchError(
            f"{folder}: the frames of one video; give the folder that holds such folders, one per video"
        )
    if not files:
        raise PanobenchError(
            f"{folder}: no video in this folder; it takes {', '.join(s[1:].upper() for s in VIDEO_SUFFIXES)}, "
            f"folders of PNG or JPEG frames, or a {MANIFEST_NAME}"
        )
    _refuse_duplicates(folder, "video name", map(name_of, files))  # a.mp4 beside a.webm
    method = method or folder.resolve().name
    if prompts_file is None:
        return VideoSet(method, _sorted(Item(name_of(f), method, name_of(f), None, 0, f) for f in files))
    prompts = read_prompts(prompts_file)
    items = []
    problems = []
    used = set()
    for file in files:
        prompt_id, seed = _prompt_of(name_of(file), prompts)
        if prompt_id is None:
            problems.append(Problem(file.name, f"no prompt for it in {prompts_file}"))
            continue
        used.add(prompt_id)
        items.append(Item(name_of(file), method, prompt_id, prompts[prompt_id], seed, file))
    problems += [
        Problem(name, f"a prompt in {prompts_file} without a video in {folder}") for name in prompts.keys() - used
    ]
    return VideoSet(method, _sorted(items), tuple(sorted(problems, key=str)))


def _prompt_of(stem: str, prompts: dict[str, str]) -> tuple[str | None, int]:
    """Prompt id and seed of a video: its name, or its name without ``-<number>``."""
    if stem in prompts:
        return stem, 0
    match = re.fullmatch(r"(.+)-(\d+)", stem)
    if match and match[1] in prompts:
        return match[1], int(match[2])
    return None, 0


def read_prompts(path: str | Path) -> dict[str, str]:
    """Prompt id (video name without suffix) -> prompt, from a CSV, JSON or YAML file (module docstring).

    Raises:
        PanobenchError: unreadable, of another shape, empty, or a name that occurs twice.
    """
    path = Path(path)
    text = _read_text(path)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        pairs = _pairs_of_csv(path, text)
    elif suffix in (".json", ".yaml", ".yml"):
        pairs = _pairs_of_tree(path, text)
    else:
        raise PanobenchError(f"{path}: prompts come as .csv, .json or .yaml, not '{suffix or 'no suffix'}'")
    pairs = [(_without_suffix(name.strip()), prompt.strip()) for name, prompt in pairs]
    for name, prompt in pairs:
        if not name or not prompt:
            raise PanobenchError(f"{path}: empty {'prompt for ' + repr(name) if name else 'video name'}")
    if not pairs:
        raise PanobenchError(f"{path}: no prompts in this file")
    _refuse_duplicates(path, "video", (name for name, _ in pairs))
    return dict(pairs)


def _pairs_of_csv(path: Path, text: str) -> list[tuple[str, str]]:
    import csv

    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or []
    for video, prompt in (("video", "prompt"), ("videoid", "name")):
        if video in columns and prompt in columns:
            return [(row[video] or "", row[prompt] or "") for row in reader]
    raise PanobenchError(
        f"{path}: needs the columns video,prompt (or videoid,name), found {','.join(columns) or 'none'}"
    )


def _pairs_of_tree(path: Path, text: str) -> list[tuple[str, str]]:
    import yaml

    try:
        tree = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise PanobenchError(f"{path}: not readable ({str(error).splitlines()[0]})") from None
    if isinstance(tree, dict) and isinstance(tree.get("prompts"), list | dict):
        tree = tree["prompts"]
    if isinstance(tree, dict):
        pairs = list(tree.items())
    elif isinstance(tree, list) and all(isinstance(row, dict) and {"id", "prompt"} <= row.keys() for row in tree):
        pairs = [(row["id"], row["prompt"]) for row in tree]
    else:
        raise PanobenchError(f"{path}: expected a mapping 'video: prompt' or a list of {{id, prompt}}")
    for name, prompt in pairs:
        if not isinstance(prompt, str):
            raise PanobenchError(f"{path}: the prompt of '{name}' must be text, found {type(prompt).__name__}")
    return [(str(name), prompt) for name, prompt in pairs]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PanobenchError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, files and frame folders, sorted; hidden ones are temporary files of a writer at work."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".")
        and (is_frame_folder(entry) if entry.is_dir() else entry.suffix.lower() in VIDEO_SUFFIXES)
    )


def name_of(path: Path) -> str:
    """A video's id: the file's name without suffix, or the frame folder's name."""
    return path.name if path.is_dir() else path.stem


def _without_suffix(name: str) -> str:
    return name[: -len(Path(name).suffix)] if name.lower().endswith(VIDEO_SUFFIXES) else name


def _refuse_duplicates(path: Path, what: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise PanobenchError(f"{path}: {what} '{twice[0]}' occurs twice")


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.video_id))
