"""The model card of the nano base, written from what was measured, with samples that show what it can and cannot do."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter, StableDiffusionPipeline
from matplotlib import pyplot as plt
from PIL import Image

from core.files import read_json, write_text
from core.nano.pretrain.settings import Settings

PROMPTS = (
    "a red hot air balloon floating over a green meadow, cloudy sky, on a sunny day",
    "a desert with sand dunes, clear sky, mountains in the background, at sunset",
    "a yellow ball on a body of water, clear sky, at noon",
    "a blue tower standing on a snow covered field, under the night sky",
    "a grassy field, a road leading to the horizon, clouds in the sky, at dawn",
    "a white balloon over the sea, mountains at the horizon, in the evening",
)
NAMES = {
    "vae": "VAE",
    "decoder": "VAE, decoder again",
    "judge": "judge",
    "unet": "U-Net",
    "motion": "motion modules",
    "polish": "U-Net, polish",
}


def write_card(assets: Path, settings: Settings) -> None:
    """Write `README.md`, `samples.png`, `clips.png` and `curves.png` beside the weights."""
    _draw_curves(assets)
    _draw_samples(assets, settings)
    write_text(assets / "README.md", _text(assets, settings))


def _draw_curves(assets: Path) -> None:
    matplotlib.use("Agg")
    figure, axes = plt.subplots(1, len(NAMES), figsize=(3.2 * len(NAMES), 2.8), layout="constrained")
    for axis, (name, title) in zip(axes, NAMES.items(), strict=True):
        curves = pd.read_csv(assets / "curves" / f"{name}.csv")
        before = 0.0
        for _, curve in curves.groupby("run"):
            axis.plot(before + curve.step, curve.loss, lw=1.2)
            before += curve.step.max()
        axis.set(title=title, xlabel="step", yscale="log")
    axes[0].set_ylabel("loss")
    figure.savefig(assets / "curves.png", dpi=90)
    plt.close(figure)


def _draw_samples(assets: Path, settings: Settings) -> None:
    """Six pictures of the base alone, and three frames of each of six clips with the motion modules."""
    h, w = settings.size
    still = StableDiffusionPipeline.from_pretrained(assets / "base", safety_checker=None, local_files_only=True)
    moving = AnimateDiffPipeline.from_pipe(
        still, motion_adapter=MotionAdapter.from_pretrained(assets / "motion_adapter", local_files_only=True)
    )
    for pipeline in (still, moving):
        pipeline.set_progress_bar_config(disable=True)
    sampling = {"num_inference_steps": settings.sample_steps, "guidance_scale": 6.0}
    common = {"height": h, "width": w, "output_type": "np", **sampling}
    pictures, strips = [], []
    for i, prompt in enumerate(PROMPTS):
        image = still(prompt, generator=torch.Generator().manual_seed(i), **common).images[0]
        frames = moving(
            prompt, num_frames=settings.frames, generator=torch.Generator().manual_seed(i), **common
        ).frames[0]
        pictures.append(image)
        strips.append(np.concatenate([frames[0], frames[len(frames) // 2], frames[-1]], axis=1))
    _save_grid(pictures, 3, assets / "samples.png")
    _save_grid(strips, 1, assets / "clips.png")


def _save_grid(images: list[np.ndarray], columns: int, path: Path) -> None:
    """Images float [0, 1] of one size, row by row, twice enlarged."""
    rows = [np.concatenate(images[i : i + columns], axis=1) for i in range(0, len(images), columns)]
    grid = Image.fromarray(np.round(np.concatenate(rows) * 255).astype(np.uint8))
    grid.resize((2 * grid.width, 2 * grid.height), Image.Resampling.BICUBIC).save(path)


def _text(assets: Path, settings: Settings) -> str:
    record = read_json(assets / "training.json")
    folders = {
        "vae": "base/vae",
        "decoder": "base/vae",
        "judge": "judge",
        "unet": "base/unet",
        "motion": "motion_adapter",
        "polish": "base/unet",
    }
    lines = []
    for name, title in NAMES.items():
        size = sum(file.stat().st_size for file in (assets / folders[name]).glob("*.safetensors")) / 2**20
        for number, run in enumerate(record[name], 1):
            label = title if number == 1 else f"{title}, run {number}"
            steps, minutes = f"{run['steps']:.0f}", f"{run['seconds'] / 60:.2g}"
            cells = [label, steps, run["batch"], run["device"], minutes, f"{run['loss']:.4f}", f"{size:.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    d, vae, judge = settings.data, record["decoder"][-1], record["judge"][-1]
    recalls = ", ".join(
        f"{100 * judge[key]:.0f} % among {key.rsplit('_', 1)[1]}" for key in judge if key.startswith("recall")
    )
    prompts = "\n".join(f"{i}. {prompt}" for i, prompt in enumerate(PROMPTS, 1))
    h, w = settings.size
    notes = "".join(f"\n- {note}" for note in settings.notes) + "\n" * bool(settings.notes)
    table = "\n".join(lines)
    return f"""# The nano base

A miniature of Stable Diffusion 1.5 + AnimateDiff + CLIP, of the real classes (diffusers `AutoencoderKL`,
`UNet2DConditionModel`, `MotionAdapter`; transformers `CLIPTextModel` with CLIP's own byte-pair encoding, cut to the
merges that the captions need; an open_clip `CLIP` as the judge). This project made the weights itself, from nothing but
its procedural world, so that the whole pipeline runs for real without a download. Licence: Apache-2.0, as the code.

Made by `panobench nano pretrain` with `assets/nano/pretrain.yaml` (seed {settings.seed}). Where a network has several
runs, the later ones went on from the weights of the earlier ones (`--going-on`), with the settings of that time.

| network | steps | batch | device | minutes | final loss | MiB, fp16 |
|---|---|---|---|---|---|---|
{table}

The U-Net is trained with min-SNR weights first, then polished with a plain loss; both are one file, and so are the VAE
and its decoder, which was trained on with noisy latents. The loss is the mean over the last twentieth of the steps;
`curves/` has it over time. Minutes are wall-clock on a machine that did other work meanwhile.
{notes}
![curves](curves.png)

## Data

All from the `train` split of the world; no reference or test scene was ever trained on.

- U-Net: {d["stills"]:,} perspective stills of {h} x {w}, fields of view from 50 to 120 degrees,
  {100 * settings.erp_share:.0f} % of them whole panoramas (the caption does not say so), as web data holds them.
- VAE: the same stills and {d["panoramas"]:,} panoramas.
- Motion modules: {d["clips"]:,} clips of {settings.frames} frames, U-Net frozen as it was before the polish.
- Judge: {d["views"]:,} square views of other scenes, looking up and down too. It never saw a generated picture.
- Text encoder: the judge's text tower, as Stable Diffusion 1.5 uses the text tower of CLIP ViT-L/14. The
  judge is therefore not independent of the generator's text side, only of its pictures.

## Measured on held-out scenes

- VAE: {vae["psnr_held_out_views"]:.1f} dB on {min(256, d["held_out_views"])} views of reference scenes;
  {vae["psnr_panoramas"]:.1f} dB on {min(64, d["panoramas"])} panoramas of its training set. Steps between the columns
  where two latents meet are {vae["blockiness"]:.2f} times as large as they should be against those between
  ({vae["blockiness_before"]:.2f} before the decoder was trained again).
- Judge: a view finds its own caption first in {recalls} (reference scenes).

## Samples

`samples.png`, pictures of the U-Net alone, and `clips.png`, the first, middle and last frame with the motion modules;
{settings.sample_steps} DDIM steps, guidance 6, seeds 0 to 5, the first and only try. Prompts, row by row:

{prompts}

![samples](samples.png)
![clips](clips.png)

## Limits

It knows four times of day, four terrains, three kinds of things in seven colours, clouds, mountains and roads, and no
other word means anything to it. Its pictures are {h} x {w} pixels. Its numbers say how the pipeline behaves,
not how good a method is at full size, and they are not the paper's numbers.
"""
