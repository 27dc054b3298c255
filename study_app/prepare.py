"""Manifests of several methods -> a blinded study bundle."""

import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.errors import PanobenchError
from core.files import publish_directory, sha256, write_error, write_json
from study_app.bundle import KEY_FILE, KEY_SCHEMA, MEDIA_FOLDER, SCHEMA, STUDY_FILE, Bundle, load_bundle
from study_app.leaks import check_no_leak
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
    3. encode all of them alike under opaque names; 4. write study.json and key.json; 5. verify the bundle and search
    it for the methods' names. Only then is it moved to ``out``.

    Ids come from an HMAC of the videos' hashes under a secret made from the seed, the videos and the environment's
    PANOBENCH_STUDY_SECRET: the same inputs give the same bundle, byte for byte, and a study that matters is safe from
    raters who read this code by setting the variable.

    Args:
        manifests: manifest.jsonl files, or folders that hold one.
        out: folder of the bundle.
        params: the `study` section of params.yaml.
        seed: enters every id and the design.
        key_path: where key.json goes; by default into ``out``.

    Raises:
        PanobenchError: one line that names the manifest or video and what is wrong with it.
    """
    out = Path(out)
    texts = load_texts(params.language)
    sources = read_sources(manifests, params.sample)
    hashes = {cell: sha256(source.path) for cell, source in sources.items()}
    secret = _secret(seed, params, hashes, sources)
    stimulus_ids = {cell: _opaque(secret, "stimulus", *cell, hashes[cell]) for cell in sources}
    names = list(dict.fromkeys(method for method, _ in sources))
    method_ids = {name: _opaque(secret, "method", name) for name in names}
    prompts = {prompt: source.row.prompt for (_, prompt), source in sources.items()}

    _check_place(out)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / MEDIA_FOLDER).mkdir(parents=True)
        video = _encode_all(sources, stimulus_ids, partial / MEDIA_FOLDER, params.quality)
        stimuli = [
            _file_entry(partial, identity) | {"method": method_ids[method], "prompt": prompt}
            for (method, prompt), identity in sorted(stimulus_ids.items(), key=lambda item: item[1])
        ]
        study: dict[str, Any] = {
            "schema": SCHEMA,
            "study_id": "",
            **params.model_dump(include={"title", "language", "mode", "open_enrolment", "consent_version", "contact"}),
            "design_key": hmac.digest(secret, b"design", "sha256").hex(),
            "video": video,
            "methods": sorted(method_ids.values()),
            "prompts": [{"id": identity, "text": text} for identity, text in prompts.items()],
            "stimuli": stimuli,
            "texts": texts.model_dump(),
        }
        study["study_id"] = _digest(secret, study)[:12]
        key = {
            "schema": KEY_SCHEMA,
            "study_id": study["study_id"],
            "methods": {identity: {"name": name} for name, identity in method_ids.items()},
            "stimuli": {
                stimulus_ids[cell]: {
                    "method": source.row.method,
                    "prompt_id": source.row.prompt_id,
                    "video_id": source.row.id,
                    "seed": source.row.seed,
                    "source_sha256": hashes[cell],
                }
                for cell, source in sources.items()
            },
        }
        write_json(partial / STUDY_FILE, study)
        load_bundle(partial)
        check_no_leak(partial, names)
        write_json(partial / KEY_FILE if key_path is None else key_path, key)
        publish_directory(partial, out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_bundle(out)


def _encode_all(
    sources: dict[tuple[str, str], Source], ids: dict[tuple[str, str], str], folder: Path, quality: int
) -> dict[str, float]:
    """Write every video anew with the same settings; returns their common format.

    The order is that of the opaque ids, so that the files' times say nothing about the methods.
    """
    from tqdm import tqdm

    from core.video import read_video, write_video

    common: tuple[tuple[int, int, int, float], Source] | None = None
    for cell in tqdm(sorted(sources, key=ids.__getitem__), desc="encode", unit="video"):
        source = sources[cell]
        video = read_video(source.path)
        found = (*video.frames.shape[:3], round(float(video.fps), 6))
        if common is None:
            common = (found, source)
            _check_playable(source.path, *found[:3])
        if found != common[0]:
            raise FormatError(
                f"{source.path}: {_describe(found)}, but {common[1].path} has {_describe(common[0])}; "
                "all videos of a study need the same number of frames, size and frame rate"
            )
        write_video(folder / f"{ids[cell]}.mp4", video.frames, video.fps, crf=quality)
    assert common is not None
    frames, height, width, fps = common[0]
    return {"height": height, "width": width, "frames": frames, "fps": fps}


def _check_playable(path: Path, frames: int, height: int, width: int) -> None:
    """The player keeps both videos of a pair in graphics memory, frame by frame, to be exact to the frame."""
    if width != 2 * height:
        raise FormatError(f"{path}: {width} x {height}, expected an equirectangular video with width = 2 height")
    memory = 2 * frames * height * width * 4
    if frames > MOST_FRAMES or memory > MOST_BYTES:
        raise FormatError(
            f"{path}: {frames} frames of {width} x {height} need {memory / 2**20:.0f} MiB of graphics memory per pair; "
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
        "params": params.model_dump(),
        "videos": [[*cell, hashes[cell], source.row.prompt] for cell, source in sorted(sources.items())],
    }
    return bytes.fromhex(_digest(os.environ.get("PANOBENCH_STUDY_SECRET", "").encode(), inputs))


def _digest(secret: bytes, value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _opaque(secret: bytes, *parts: str) -> str:
    return hmac.new(secret, "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:24]
