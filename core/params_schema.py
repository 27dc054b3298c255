"""What params.yaml may hold: every section and key with its type, bounds, default and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", description="lower-case letters, digits and underscores")]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def is_path(name: str) -> bool:
    """Whether a model is named by where it lies, and not by its name under `training`."""
    return "/" in name or "." in name


class Section(BaseModel):
    """A mapping of params.yaml: no unknown keys, no silent conversions, no changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Video(Section):
    """The videos that are trained on and generated: ERP, so width is twice the height."""

    height: Positive
    width: Positive
    #: Frames per video; also the length of a training clip.
    frames: Positive
    fps: Annotated[float, Field(gt=0)]


class Base(Section):
    """The frozen text-to-video stack."""

    #: Stable Diffusion 1.x: a diffusers folder, or a checkpoint in one file (.safetensors, .ckpt).
    model: str
    #: Motion modules: a diffusers folder, or AnimateDiff's file (mm_sd_v14.ckpt).
    motion_adapter: str
    #: A fine-tuned Stable Diffusion 1.x to generate with, folder or file; trainings stay on base.model.
    personalised: str | None = None
    #: Whether its own text encoder is used where it has one; the authors' code never does.
    personalised_text_encoder: bool = True
    #: Configurations (PART/config.json) of single files; null: those of Stable Diffusion 1.5 and AnimateDiff.
    configs: str | None = None
    #: GroupNorm of the video model: diffusers', or as AnimateDiff trained its v14 and v15 modules.
    groupnorm: Literal["diffusers", "released"] = "diffusers"


class Dataset(Section):
    """Where clips come from: the procedural world (`nano`), a folder of raw footage, or one in WEB360's layout."""

    source: str
    #: What DVC looks at to see that the clips have changed: the folder that `source` names; of `nano` any file.
    watch: str | None = None
    #: Clips of the procedural world; a folder gives all that it has.
    train_clips: Positive
    #: Never trained on; metrics that compare distributions read them.
    reference_clips: Positive
    #: Source frames per clip; training draws windows of video.frames from them.
    frames: Positive
    #: Clips of one raw source at most, spread evenly over it.
    per_source: Positive = 100
    #: Share of the sources, of a folder without a split of its own, that become reference clips.
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    #: The eye to keep of stereo footage; null rejects it.
    crop_eye: Literal["top", "bottom", "left", "right"] | None = None
    #: Keep static, frozen and black clips, marked in the column `flags`.
    keep_flagged: bool = False


class Caption(Section):
    """360 Text Fusion."""

    #: given: the captions that clips come with; else a BLIP folder or hub id.
    captioner: str = "given"
    #: What fuses four captions: built-in rules, an OpenAI-compatible endpoint (named in the environment, see
    #: docs/data.md), or a local chat model.
    fusion: Literal["rules", "chat", "local"]
    #: Folder or hub id of the local chat model.
    fusion_model: str | None = None
    #: One caption of the whole ERP instead of four fused views: the ablation "without 360TF".
    whole_erp: bool = False
    #: Pictures that are captioned at a time.
    batch: Positive = 16


class Flow(Section):
    """Optical flow of the training clips."""

    backend: Literal["dis", "raft", "panoflow"]
    #: Checkpoint of raft or panoflow.
    weights: str | None = None
    #: Cyclic flow estimation: flow may cross the seam.
    cyclic: bool = True
    #: Estimate on views of the poles too.
    tangent: bool = True
    #: Estimate backwards too, and record where both agree; doubles the time.
    confidence: bool = False
    #: Of the stored pictures: panobench, or as the authors of 360DVD stored them.
    encoding: Literal["panobench", "released"] = "panobench"
    #: Displacement, in ERP pixels per frame, at which the model's motion condition is full.
    range_px: Annotated[float, Field(gt=0)]


class Encode(Section):
    """Latents, text embeddings and conditions are computed once."""

    batch: Positive
    #: Pad along longitude in the VAE, so that no seam is baked into the training latents.
    circular: bool = True
    #: Encode a mirrored copy of each clip too, for training.*.random_flip; doubles the time and the cache.
    mirror: bool = False
    #: Keep the condition at 1/n of its size, averaged; the VAE's factor (8) keeps it at latent resolution.
    flow_scale: Annotated[int, Field(ge=1, le=16)] = 1


class Validation(Section):
    """Videos of the model in training, for people to look at; they do not change the training."""

    #: Steps from one set of videos to the next.
    every: Positive
    prompts: Annotated[list[str], Field(min_length=1)]
    #: DDIM steps of each video.
    steps: Positive = 25
    guidance_scale: Annotated[float, Field(ge=1)] = 7.5
    #: Sample with latent rotation and circular padding.
    enhanced: bool = True


class Training(Section):
    """What both kinds of training share."""

    steps: Positive
    #: Samples that a process holds at a time; a step has batch x gradient_accumulation x processes of them.
    batch: Positive
    gradient_accumulation: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)]
    #: constant as in the paper, or cosine: decays to zero at the last step, better for short trainings.
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    #: Gradient norm above which gradients are scaled down.
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    #: Probability of training on the empty caption.
    caption_dropout: Fraction = 0.1
    #: Roll each clip by a random yaw, in whole latent columns.
    random_roll: bool = True
    #: Mirror half of the clips (the flow's horizontal sign follows); needs encode.mirror.
    random_flip: bool = False
    #: Train with the circular padding of 360ET, as methods with `circular_padding` sample.
    circular_padding: bool = False
    #: Mixed precision of the forward and backward pass; trained weights and optimiser stay fp32.
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    #: Compute the U-Net's activations again in the backward pass instead of keeping them: less memory, more time.
    gradient_checkpointing: bool = False
    #: Decay of an exponential moving average of the weights, which is what the model folder then holds.
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    #: Read what `panobench data encode` left; false: encode clips at every step, which rolls them by single pixels.
    cached: bool = True
    validation: Validation | None = None
    #: Steps between checkpoints from which a killed run resumes.
    checkpoint_every: Positive = 25


class LoraTraining(Training):
    """The panorama LoRA of baselines B and C, trained on single ERP pictures."""

    kind: Literal["lora"]
    rank: Positive
    #: LoRA's alpha; the update is scaled by alpha / rank. null: as the rank.
    alpha: Annotated[float, Field(gt=0)] | None = None
    #: Put before every caption in training, and before every prompt in generation.
    trigger: str = ""
    #: Adapt the convolutions besides the spatial attention.
    convolutions: bool = False


class AdapterTraining(Training):
    """The 360-Adapter, trained on ERP clips over the frozen base."""

    kind: Literal["adapter"]
    #: paper: mean (W err)^2; released: mean W err^2; none: the ablation.
    latitude_loss: Literal["paper", "released", "none"] = "paper"
    #: Probability of training without a motion condition.
    motion_dropout: Fraction = 0.2
    #: The temporal convolution of each block; false: the ablation.
    pseudo_3d: bool = True
    #: Sine and cosine of the latitude as further condition channels: beyond the paper.
    latitude_channels: bool = False
    #: Start from zero features behind zero-initialised convolutions: for trainings of a few hundred steps.
    zero_output: bool = False
    #: Source frames from one training frame to the next; the paper's is 4.
    stride: Positive = 1
    #: Train on the captions of the whole ERP instead of the fused ones: the ablation without 360TF.
    whole_erp_captions: bool = False


AnyTraining = Annotated[LoraTraining | AdapterTraining, Field(discriminator="kind")]


class Method(Section):
    """A method is data: the base, plus what of a LoRA, an adapter and the 360 enhancement techniques it uses."""

    label: str
    #: A name under `training`, or a file of kohya's (Civitai) or diffusers' format.
    lora: str | None = None
    lora_scale: float = 1.0
    #: Put before every prompt; null: the trigger that the LoRA was trained with here.
    trigger: str | None = None
    #: A name under `training`, a folder of an adapter trained elsewhere, or the released checkpoint.
    adapter: str | None = None
    adapter_scale: float = 1.0
    #: Instead of base.personalised.
    personalised: str | None = None
    #: Latent rotation during sampling.
    rotation: bool = False
    circular_padding: bool = False
    #: Compatibility preset: what the paper says, or what the authors' code does.
    preset: Literal["paper", "released"] = "paper"

    def models(self) -> list[str]:
        """The models trained here that this method loads."""
        return [name for name in (self.lora, self.adapter) if name and not is_path(name)]

    def files(self) -> dict[str, str]:
        """The weights from elsewhere that this method loads: key -> path."""
        found = {"lora": self.lora, "adapter": self.adapter, "personalised": self.personalised}
        return {key: value for key, value in found.items() if value and (key == "personalised" or is_path(value))}


class Generation(Section):
    """How every method samples; the same noise for all of them."""

    prompts: str
    #: DDIM steps.
    steps: Positive
    guidance_scale: Annotated[float, Field(ge=1)]
    #: fp32, as the authors sample; half precision needs half the memory.
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    #: null: that of the prompt file.
    negative_prompt: str | None = None
    #: Videos per prompt and method.
    samples: Positive = 1
    #: Videos denoised at a time; changes the time, and the videos only by rounding.
    batch: Positive = 4
    #: Enlarge the finished videos this many times, bicubic around the sphere.
    upscale: Annotated[int, Field(ge=1, le=8)] = 1
    #: Motion condition of methods with an adapter: null (none), the name of a synthetic one (core.motion), or the path
    #: of a flow video or tensor. A prompt may have its own.
    motion: str | None = None


class Weights(Section):
    """Paths of the weights of networks that metrics use; without one, the caches of this machine are searched."""

    #: torchvision's AlexNet, under LPIPS.
    lpips: str | None = None
    #: Inception-v3 of 2015-12-05 as TorchScript, under KID and OmniFID.
    inception: str | None = None
    #: The panorama autoencoder of FAED.
    faed: str | None = None
    #: I3D as TorchScript, or a VideoMAE folder, under FVD.
    video: str | None = None


class Scoring(Section):
    """What is measured, and how surely."""

    judge: str
    #: Options of the view set; the evaluation package checks them.
    views: dict[str, Any] = {}
    weights: Weights = Weights()
    #: How finely the judge and LPIPS count.
    precision: Literal["fp32", "bf16"] = "fp32"
    #: Resamples behind every interval.
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    #: Metric name -> its options; the evaluation package checks both.
    metrics: dict[str, dict[str, Any]]


class Report(Section):
    """What the comparison puts first."""

    #: Criterion -> the metric that stands for it in the summary table; chosen before anything is measured.
    headline: dict[Slug, Slug] = {}


class Run(Section):
    """What the pipeline runs of all that is defined."""

    models: list[Slug]
    methods: Annotated[list[Slug], Field(min_length=1)]


class Params(Section):
    """A whole profile."""

    #: Names the folder under outputs/.
    profile: Slug
    seed: Annotated[int, Field(ge=0)]
    video: Video
    base: Base
    dataset: Dataset
    caption: Caption
    flow: Flow
    encode: Encode
    run: Run
    training: dict[Slug, AnyTraining]
    methods: dict[Slug, Method]
    generation: Generation
    scoring: Scoring
    report: Report = Report()
    #: Checked by study_app.params, which owns these keys.
    study: dict[str, Any] = {}
    #: Of the study's votes; checked by study_app.params too.
    analysis: dict[str, Any] = {}

    @property
    def outputs(self) -> Path:
        """Where the pipeline writes, relative to the working directory."""
        return Path("outputs") / self.profile

    def weights(self) -> dict[str, str]:
        """Every weight from elsewhere that the profile uses: key -> path of a file or folder."""
        found = {"base.model": self.base.model, "base.motion_adapter": self.base.motion_adapter}
        if self.base.personalised is not None:
            found["base.personalised"] = self.base.personalised
        for name in self.run.methods:
            found |= {f"methods.{name}.{key}": path for key, path in self.methods[name].files().items()}
        if self.flow.weights is not None:
            found["flow.weights"] = self.flow.weights
        found["scoring.judge"] = self.scoring.judge
        if self.scoring.weights.lpips is not None:
            found["scoring.weights.lpips"] = self.scoring.weights.lpips
        return found
