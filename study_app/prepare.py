"""Manifests of several methods -> a blinded study bundle."""

import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import PanobenchError
from core.files import publish_directory, sha256, write_error, write_json, write_text
from study_app.bundle import KEY_FILE, KEY_SCHEMA, MEDIA_FOLDER, SCHEMA, SETTINGS_FILE, STUDY_FILE, Bundle, load_bundle
from study_app.controls import KINDS, VISIBLE, damaged, visibility
from study_app.leaks import check_no_leak, check_words
from study_app.manifest import Source, read_sources
from study_app.params import StudyParams
from study_app.texts import load_texts

#: What WebGL 2 guarantees for the layers of a texture array, and what ordinary graphics hardware can spare.
MOST_FRAMES = 256
MOST_BYTES = 2**30


class FormatError(PanobenchError):
    """The videos differ in size, length or frame rate, so raters could tell the methods apart by that."""


def prepare(
    manifests: Iterable[str | Path],
    out: str | Path,
    params: StudyParams,
    seed: int = 360,
    key_path: str | Path | None = None,
) -> Bundle:
    """Build the bundle in ``out``, replacing one that is there.

    1. choose one video per method and prompt; 2. refuse them unless all have one size, length and frame rate;
    3. damage copies of some for the control trials; 4. encode all of them alike under opaque names; 5. write
    study.yaml, study.json and key.json; 6. verify the bundle and search it for the methods' names. Only then is it
    moved to ``out``.

    Ids come from an HMAC of the videos' hashes under a secret made from the seed, the videos and the environment's
    PANOBENCH_STUDY_SECRET: the same inputs give the same bundle, byte for byte, and a study that matters is safe from
    raters who read this code by setting the variable.

    Args:
        manifests: manifest.jsonl files, or folders that hold one.
        out: folder of the bundle.
        params: the organiser's decisions (study.yaml).
        seed: enters every id and the design.
        key_path: where key.json goes; by default into ``out``.

    Raises:
        PanobenchError: one line that names the manifest or video and what is wrong with it.
    """
    out = Path(out)
    settings = _settings(params)
    sources = read_sources(manifests, params.sample)
    hashes = {cell: sha256(source.path) for cell, source in sources.items()}
    secret = _secret(seed, params, hashes, sources)
    stimulus_ids = {cell: _opaque(secret, "stimulus", *cell, hashes[cell]) for cell in sources}
    names = list(dict.fromkeys(method for method, _ in sources))
    method_ids = {name: _opaque(secret, "method", name) for name in names}
    prompts = {prompt: source.row.prompt for (_, prompt), source in sources.items()}

    criteria = [criterion["id"] for criterion in settings["texts"][params.languages[0]]["criteria"]]

    _check_place(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / MEDIA_FOLDER).mkdir(parents=True)
        video = _check_formats(sources, len(names) if params.mode == "best-of-four" else 2)
        copies = _damage(secret, sources, stimulus_ids, criteria)
        _encode_all(sources, stimulus_ids, copies, partial / MEDIA_FOLDER, params.quality)
        write_text(partial / SETTINGS_FILE, _yaml(settings))
        study: dict[str, Any] = {
            "schema": SCHEMA,
            "study_id": "",
            "mode": params.mode,
            "settings_sha256": sha256(partial / SETTINGS_FILE),
            "design_key": hmac.digest(secret, b"design", "sha256").hex(),
            "video": video,
            "methods": sorted(method_ids.values()),
            "prompts": [{"id": identity, "text": text} for identity, text in prompts.items()],
            "stimuli": [
                _file_entry(partial, identity) | {"method": method_ids[method], "prompt": prompt}
                for (method, prompt), identity in sorted(stimulus_ids.items(), key=lambda item: item[1])
            ],
            "controls": [
                {
                    "id": f"{copy.use}-{copy.kind}",
                    "use": copy.use,
                    "kind": copy.kind,
                    "criterion": KINDS[copy.kind],
                    "prompt": copy.cell[1],
                    "sound": stimulus_ids[copy.cell],
                    "damaged": copy.id,
                }
                for copy in copies
            ],
            "damaged": [_file_entry(partial, identity) for identity in sorted(copy.id for copy in copies)],
        }
        study["study_id"] = _digest(secret, study)[:12]
        key = {
            "schema": KEY_SCHEMA,
            "study_id": study["study_id"],
            "methods": {identity: {"name": name} for name, identity in method_ids.items()},
            "stimuli": {stimulus_ids[cell]: _keyed(source, hashes[cell]) for cell, source in sources.items()}
            | {copy.id: _keyed(sources[copy.cell], hashes[copy.cell]) | {"damage": copy.kind} for copy in copies},
        }
        write_json(partial / STUDY_FILE, study)
        load_bundle(partial)
        check_no_leak(partial, names)
        check_words(json.dumps(params.wording, ensure_ascii=False), names)
        write_json(partial / KEY_FILE if key_path is None else key_path, key)
        publish_directory(partial, out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_bundle(out)


def _settings(params: StudyParams) -> dict[str, Any]:
    """What goes into the bundle's study.yaml: the decisions, and the texts of every language."""
    texts = {
        language: load_texts(language, params.wording.get(language), params.criteria) for language in params.languages
    }
    unknown = [language for language in params.wording if language not in texts]
    if unknown:
        raise PanobenchError(f"study.wording: '{unknown[0]}' is not among study.languages")
    return params.model_dump(mode="json") | {"texts": {name: text.model_dump() for name, text in texts.items()}}


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    head = (
        "# The settings of this study as raters met them. Not to be edited: study.json names the hash of this file.\n"
    )
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def _check_formats(sources: dict[tuple[str, str], Source], screens: int) -> dict[str, float]:
    """The common format of all videos.

    Raises:
        FormatError: there is none, or no browser could be asked to play it.
    """
    from core.video import probe_video

    common: tuple[tuple[int, int, int, float], Source] | None = None
    for source in sources.values():
        info = probe_video(source.path)
        found = (info.frames, info.height, info.width, round(info.fps, 6))
        if common is None:
            common = (found, source)
            _check_playable(source.path, info.frames, info.height, info.width, screens)
        if found != common[0]:
            raise FormatError(
                f"{source.path}: {_describe(found)}, but {common[1].path} has {_describe(common[0])}; "
                "all videos of a study need the same number of frames, size and frame rate"
            )
    assert common is not None
    frames, height, width, fps = common[0]
    return {"height": height, "width": width, "frames": frames, "fps": fps}


@dataclass(frozen=True)
class _Copy:
    """A damaged copy of the clip at ``cell``."""

    id: str
    use: str
    kind: str
    cell: tuple[str, str]
    frames: np.ndarray


def _damage(
    secret: bytes, sources: dict[tuple[str, str], Source], ids: dict[tuple[str, str], str], criteria: list[str]
) -> list[_Copy]:
    """For each kind and use, the clip on which the damage shows best; none where it shows on no clip.

    Examples and gold take clips of different prompts, where there is more than one.
    """
    from core.video import read_video

    cells = sorted(sources, key=ids.__getitem__)
    prompts = sorted({prompt for _, prompt in cells}, key=lambda prompt: _opaque(secret, "control", prompt))
    parts = {"example": prompts[::2], "gold": prompts[1::2] or prompts}
    best: dict[tuple[str, str], tuple[float, _Copy]] = {}
    for cell in cells:
        frames = read_video(sources[cell].path).frames
        for use, chosen in parts.items():
            if cell[1] not in chosen:
                continue
            for kind in [kind for kind, criterion in KINDS.items() if criterion in criteria]:
                name = _opaque(secret, "damaged", use, kind, *cell)
                copy = damaged(kind, frames, np.random.default_rng(int(name, 16)))
                shows = visibility(kind, frames, copy)
                if shows >= VISIBLE and shows > best.get((use, kind), (0.0, None))[0]:
                    best[use, kind] = (shows, _Copy(name, use, kind, cell, copy))
    return [best[use, kind][1] for use in parts for kind in KINDS if (use, kind) in best]


def _encode_all(
    sources: dict[tuple[str, str], Source],
    ids: dict[tuple[str, str], str],
    copies: list[_Copy],
    folder: Path,
    quality: int,
) -> None:
    """Write every video anew with the same settings.

    The order is that of the opaque ids, so that the files' times say nothing about the methods or the controls.
    """
    from tqdm import tqdm

    from core.video import read_video, write_video

    frames = {copy.id: copy.frames for copy in copies}
    originals = {identity: cell for cell, identity in ids.items()}
    rate = read_video(next(iter(sources.values())).path).fps
    for identity in tqdm(sorted(frames.keys() | originals.keys()), desc="encode", unit="video"):
        picture = frames[identity] if identity in frames else read_video(sources[originals[identity]].path).frames
        write_video(folder / f"{identity}.mp4", picture, rate, crf=quality)


def _keyed(source: Source, digest: str) -> dict[str, Any]:
    row = source.row
    return {
        "method": row.method,
        "prompt_id": row.prompt_id,
        "video_id": row.id,
        "seed": row.seed,
        "source_sha256": digest,
    }


def _check_playable(path: Path, frames: int, height: int, width: int, screens: int) -> None:
    """The player keeps all videos of a page in graphics memory, frame by frame, to be exact to the frame."""
    if width != 2 * height:
        raise FormatError(f"{path}: {width} x {height}, expected an equirectangular video with width = 2 height")
    memory = screens * frames * height * width * 4
    if frames > MOST_FRAMES or memory > MOST_BYTES:
        raise FormatError(
            f"{path}: {frames} frames of {width} x {height} need {memory / 2**20:.0f} MiB of graphics memory per page; "
            f"at most {MOST_FRAMES} frames and {MOST_BYTES / 2**20:.0f} MiB may be asked of a rater's browser; "
            "shorten or scale all videos alike first"
        )


def _describe(found: tuple[int, int, int, float]) -> str:
    frames, height, width, fps = found
    return f"{frames} frames of {width} x {height} at {fps:g} fps"


def _file_entry(folder: Path, identity: str) -> dict[str, Any]:
    path = folder / MEDIA_FOLDER / f"{identity}.mp4"
    return {"id": identity, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _check_place(out: Path) -> None:
    """Refuse to replace a folder that is not a bundle."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / STUDY_FILE).is_file())):
        raise PanobenchError(f"{out}: exists and is not a study bundle; name another place with --out")


def _secret(
    seed: int, params: StudyParams, hashes: dict[tuple[str, str], str], sources: dict[tuple[str, str], Source]
) -> bytes:
    inputs = {
        "seed": seed,
        "params": params.model_dump(mode="json"),
        "videos": [[*cell, hashes[cell], source.row.prompt] for cell, source in sorted(sources.items())],
    }
    return bytes.fromhex(_digest(os.environ.get("PANOBENCH_STUDY_SECRET", "").encode(), inputs))


def _digest(secret: bytes, value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _opaque(secret: bytes, *parts: str) -> str:
    return hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:24]
