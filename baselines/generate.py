"""`panobench generate METHOD`: the videos of a prompt set by one method, and their manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from baselines.motion import Motions, motion_identity
from baselines.prompts import read_prompts, sample_seed
from baselines.recipes import read_recipe
from core.data.work import identity_hash
from core.device import default_device
from core.errors import PanobenchError
from core.files import exclusive, publish_directory, read_json, sha256, write_json, write_text
from core.model.base import load_adapter360, load_base, personalise, with_trigger
from core.model.pipeline import Pipeline360
from core.params_schema import Params
from core.shards import Shard
from core.spherical import write_panorama
from core.upscale import upscale_erp

ALL = Shard()


@dataclass(frozen=True)
class Sample:
    """One video to make."""

    name: str  # of the file, without suffix
    prompt_id: str
    prompt: str  # of the set; the method may put its trigger before it
    seed: int
    motion: str | None  # condition of a method with an adapter
    provenance: dict[str, Any]  # what decides the video

    @property
    def hash(self) -> str:
        """Identity of everything that decides the video."""
        return identity_hash({"prompt": self.prompt, "seed": self.seed, **self.provenance})


def generate(params: Params, method: str, shard: Shard = ALL) -> Path | None:
    """Make the videos of one method and return their folder, `outputs/<profile>/videos/<method>`.

    Videos and their rows are written one batch after the other to `partial/generate/<method>` and move into place when
    all are there. A killed run goes on with the first batch that is not complete: batches are cut from the whole list,
    never from what is left, so that a video does not depend on where a run was interrupted.

    Of several processes each makes its share of the batches, and the last to finish moves all of them into place; the
    others return None. They meet in the partial folder only, so they may run on hosts that share the disk, at different
    times, and a process without a shard makes whatever others have left.
    """
    final, partial = params.outputs / "videos" / method, params.outputs / "partial" / "generate" / method
    recipe = read_recipe(params, method)
    samples = plan(params, recipe)
    if _complete(final, samples):
        return final
    size = params.generation.batch
    batches = [samples[i : i + size] for i in range(0, len(samples), size)]
    mine = shard.of(batches)
    waiting = [batch for batch in mine if not all(_finished(partial, sample) for sample in batch)]
    if waiting:
        _run(params, recipe, mine, waiting, partial)
    if not all(_finished(partial, sample) for sample in samples):
        return final if _complete(final, samples) else None  # another process may just have moved them
    with exclusive(partial.with_name(f"{method}.publish.lock")):
        if not _complete(final, samples):
            rows = [read_json(partial / f"{sample.name}.json") for sample in samples]
            _publish(partial, final, samples, rows)
    return final


def plan(params: Params, recipe: dict[str, Any]) -> list[Sample]:
    """Every sample of the prompt set, in order, with what decides it."""
    prompts = read_prompts(params.generation.prompts)
    generation = params.generation
    negative = prompts.negative_prompt if generation.negative_prompt is None else generation.negative_prompt
    provenance = {
        "recipe_sha256": identity_hash(recipe),
        "code_sha256": _code_hash(),
        "steps": generation.steps,
        "guidance_scale": generation.guidance_scale,
        "precision": generation.precision,
        "negative_prompt": negative,
        "batch": generation.batch,
        "upscale": generation.upscale,
        "video": params.video.model_dump(),
    }
    samples = []
    for prompt in prompts.prompts:
        motion = (prompt.motion or generation.motion) if recipe["adapter"] else None
        known = provenance | {"motion": motion and motion_identity(motion)}
        for i in range(generation.samples):
            seed = sample_seed(params.seed, prompt.id, i)
            samples.append(Sample(f"{prompt.id}-{i}", prompt.id, prompt.text, seed, motion, known))
    return samples


def build_pipeline(recipe: dict[str, Any], device: torch.device, precision: str = "fp32") -> Pipeline360:
    """The pipeline of a recipe: the base, personalised or not, and adapter and LoRA where the method has them."""
    parts, dtype = recipe["base"], {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    configs = parts["configs"]
    base = load_base(
        parts["model"]["path"],
        parts["motion_adapter"]["path"],
        dtype,
        device,
        configs=configs,
        released_groupnorm=parts["groupnorm"] == "released",
    )
    if parts["personalised"]:
        own = parts["personalised_text_encoder"]
        base = personalise(base, parts["personalised"]["path"], text_encoder=own, configs=configs)
    adapter = None if recipe["adapter"] is None else load_adapter360(recipe["adapter"]["path"], dtype, device)
    pipe = Pipeline360.from_base(base, adapter)
    pipe.set_progress_bar_config(disable=True)
    if recipe["lora"] is not None:
        pipe.add_lora(recipe["lora"]["path"], recipe["lora"]["scale"])
    return pipe


def _run(
    params: Params,
    recipe: dict[str, Any],
    batches: Sequence[Sequence[Sample]],
    waiting: Sequence[Sequence[Sample]],
    partial: Path,
) -> None:
    """Make the waiting batches; each video and then its row is complete or absent."""
    video, generation = params.video, params.generation
    pipe = build_pipeline(recipe, _own_device(), generation.precision)
    motions = Motions(video, recipe["adapter"])
    trigger = recipe["lora"]["trigger"] if recipe["lora"] else ""
    commit = _git_commit()
    total, done = (generation.steps * sum(map(len, b)) for b in (batches, [b for b in batches if b not in waiting]))
    with tqdm(total=total, initial=done, desc=f"generate {recipe['method']}", unit="step") as bar:
        for batch in waiting:
            made = pipe(
                [with_trigger(trigger, sample.prompt) for sample in batch],
                seeds=[sample.seed for sample in batch],
                frames=video.frames,
                height=video.height,
                width=video.width,
                steps=generation.steps,
                guidance_scale=generation.guidance_scale,
                negative_prompt=batch[0].provenance["negative_prompt"],
                condition=motions.of([sample.motion for sample in batch]),
                adapter_scale=recipe["adapter"]["scale"] if recipe["adapter"] else 1.0,
                rotation=recipe["rotation"],
                circular_padding=recipe["circular_padding"],
                preset=recipe["preset"],
                batch_size=len(batch),
                callback=lambda _step, latents: _advance(bar, len(latents)),
            ).frames
            for sample, frames in zip(batch, made, strict=True):
                path = partial / f"{sample.name}.mp4"
                large = upscale_erp(frames, generation.upscale)
                write_panorama(path, large, video.fps)
                write_json(partial / f"{sample.name}.json", _row(sample, recipe["method"], path, large.shape, commit))


def _own_device() -> torch.device:
    """The GPU that the launcher means for this process of its host, or the CPU."""
    device = default_device()
    if device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return torch.device("cuda", local % torch.cuda.device_count())


def _advance(bar: tqdm, steps: int) -> None:
    bar.update(steps)


def _row(sample: Sample, method: str, path: Path, shape: tuple[int, ...], commit: dict[str, Any]) -> dict[str, Any]:
    """The video's line of the manifest."""
    settings = {k: v for k, v in sample.provenance.items() if k not in ("recipe_sha256", "video")}
    return {
        "id": sample.name,
        "method": method,
        "prompt_id": sample.prompt_id,
        "prompt": sample.prompt,
        "seed": sample.seed,
        "path": path.name,
        "frames": shape[0],
        "fps": sample.provenance["video"]["fps"],
        "height": shape[1],
        "width": shape[2],
        "sha256": sha256(path),
        "provenance": {
            "hash": sample.hash,
            "recipe_sha256": sample.provenance["recipe_sha256"],
            **commit,
            "generator": settings,
        },
    }


def _finished(partial: Path, sample: Sample) -> bool:
    """Whether this very video, by its provenance, is there; another process may be moving it away."""
    row, video = partial / f"{sample.name}.json", partial / f"{sample.name}.mp4"
    try:
        return row.is_file() and _same(read_json(row), sample, video)
    except PanobenchError:
        return False


def _complete(final: Path, samples: Sequence[Sample]) -> bool:
    """Whether the published folder holds exactly these videos."""
    manifest = final / "manifest.jsonl"
    if not manifest.is_file():
        return False
    rows = {row["id"]: row for row in map(json.loads, manifest.read_text(encoding="utf-8").splitlines())}
    return set(rows) == {sample.name for sample in samples} and all(
        _same(rows[sample.name], sample, final / f"{sample.name}.mp4") for sample in samples
    )


def _same(row: dict[str, Any], sample: Sample, video: Path) -> bool:
    return row["provenance"]["hash"] == sample.hash and video.is_file() and row["sha256"] == sha256(video)


def _publish(partial: Path, final: Path, samples: Sequence[Sample], rows: Sequence[dict[str, Any]]) -> None:
    """Gather videos and manifest in one folder and move it into place; then the unfinished folder may go."""
    ready = partial.with_name(f"{partial.name}.ready")
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    for sample in samples:
        shutil.copy2(partial / f"{sample.name}.mp4", ready)
    write_text(ready / "manifest.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    publish_directory(ready, final)
    shutil.rmtree(partial)


def _code_hash() -> str:
    """Hash of the code that samples: leftovers of another version are not taken for this one's."""
    import core.model
    import core.weights

    digest = hashlib.sha256()
    for package in (core.model, core.weights):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _git_commit() -> dict[str, Any]:
    """Commit of the code and whether the tree differed from it; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit, "git_dirty": bool(changed.strip())}
