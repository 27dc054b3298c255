"""Pretraining from end to end: data, VAE, judge, U-Net, motion modules, then the shipped folder `assets/nano`.

Every phase resumes: rendered data, latents and checkpoints in the work folder are used if they are there. Training may
also go on from weights that were shipped before; their record is kept, and what is shipped next holds all runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from safetensors.torch import load_file

from core.errors import PanobenchError
from core.files import read_json, write_json
from core.nano import stack
from core.nano.pretrain import networks
from core.nano.pretrain.card import write_card
from core.nano.pretrain.loop import Plan
from core.nano.pretrain.settings import PLANS, Settings
from core.nano.pretrain.world import Pictures, pictures

PHASES = ("data", "vae", "decoder", "judge", "unet", "motion", "polish", "export")
#: What changes when training goes on from shipped weights: latents and texts stay, and all that was trained on them.
GOING_ON = ("decoder", "unet", "motion", "polish", "export")


class Pretraining:
    """The phases, each reading what the ones before it left in `work`."""

    def __init__(self, settings: Settings, work: Path, workers: int = 2, device: str = "cpu") -> None:
        self.settings = settings
        self.work = work
        self.workers = workers
        self.device = device
        #: Shipped weights from which training goes on, and their record; empty otherwise.
        self.start = work / "start"
        self.bpe = work / "bpe_simple_vocab.txt.gz"

    def go_on_from(self, assets: Path) -> None:
        """Take shipped weights for what the phases that are not in `GOING_ON` would have left.

        Raises:
            PanobenchError: `assets` holds no nano base, or the work folder one that was trained from the beginning.
        """
        if (self.start / "training.json").exists():
            return
        if (self.work / "vae").exists() and not self.start.exists():
            raise PanobenchError(f"{self.work} holds a training from the beginning; name another --work folder")
        if not (assets / "training.json").is_file():
            raise PanobenchError(f"{assets} holds no nano base (no training.json)")
        self.work.mkdir(parents=True, exist_ok=True)
        self.bpe.write_bytes((assets / "judge/bpe_simple_vocab.txt.gz").read_bytes())
        state = load_file(assets / "judge/open_clip_model.safetensors")
        torch.save({name: tensor.float() for name, tensor in state.items()}, self.work / "judge_final.pt")
        folders = {"vae": assets / "base/vae", "start/unet": assets / "base/unet"}
        for name, folder in folders.items():
            kind = AutoencoderKL if name == "vae" else UNet2DConditionModel
            kind.from_pretrained(folder, torch_dtype=torch.float32).save_pretrained(self.work / name)
        motion = MotionAdapter.from_pretrained(assets / "motion_adapter", torch_dtype=torch.float32)
        motion.save_pretrained(self.start / "motion_adapter")
        shutil.copytree(assets / "curves", self.start / "curves", dirs_exist_ok=True)
        # Last: with it the folder is complete.
        write_json(self.start / "training.json", read_json(assets / "training.json"))

    def run(self, phases: list[str], assets: Path) -> None:
        """Run the named phases in order."""
        self.work.mkdir(parents=True, exist_ok=True)
        if not self.bpe.exists():
            stack.write_bpe(self.bpe)
        for phase in phases:
            if phase == "export":
                self.export(assets)
            elif phase == "data":
                _ = self.stills, self.panoramas, self.views, self.held_out, self.clips
            else:
                getattr(self, f"train_{phase}")()

    # --- data ---------------------------------------------------------------------------------------------------------

    def _pictures(self, kind: Any, split: Any, count: str, size: tuple[int, int], **kwargs: Any) -> Pictures:
        s = self.settings
        return pictures(self.work / "data", kind, split, s.data[count], size, s.seed, workers=self.workers, **kwargs)

    @property
    def stills(self) -> Pictures:
        """Perspective pictures with a few panoramas among them."""
        return self._pictures("stills", "train", "stills", self.settings.size, erp_share=self.settings.erp_share)

    @property
    def panoramas(self) -> Pictures:
        """Panoramas, for the VAE alone."""
        return self._pictures("panoramas", "train", "panoramas", self.settings.size)

    @property
    def views(self) -> Pictures:
        """Square views for the judge."""
        return self._pictures("views", "train", "views", (64, 64))

    @property
    def held_out(self) -> Pictures:
        """Square views of reference scenes, never trained on."""
        return self._pictures("views", "reference", "held_out_views", (64, 64))

    @property
    def clips(self) -> Pictures:
        """Perspective clips."""
        s = self.settings
        return self._pictures("clips", "train", "clips", s.size, frames=s.frames, erp_share=s.erp_share)

    # --- trainings ----------------------------------------------------------------------------------------------------

    def train_vae(self) -> None:
        """VAE on stills and panoramas, then latents normalised."""
        torch.manual_seed(self.settings.seed)
        vae = stack.build_vae().to(self.device)
        both = _Joined(self.stills, self.panoramas)
        summary = networks.train_vae(vae, both, self.settings.vae, self.work, self.settings.seed)
        networks.normalise_latents(vae, self.stills)
        vae.save_pretrained(self.work / "vae")
        held_out = self.held_out.images[:256, 0]
        panoramas = self.panoramas.images[:64, 0]
        summary["psnr_held_out_views"] = networks.reconstruction_psnr(vae, held_out)
        summary["psnr_panoramas"] = networks.reconstruction_psnr(vae, panoramas)
        self._record("vae", summary)

    def train_decoder(self) -> None:
        """The VAE's decoder once more, on latents with a little noise."""
        vae = self.vae.requires_grad_(True)
        held_out, panoramas = self.held_out.images[:256, 0], self.panoramas.images[:64, 0]
        before = networks.blockiness(vae, held_out)
        summary = networks.train_decoder(
            vae, self._still_latents(), self.stills, self.settings.decoder, self.work, self.settings.seed + 5
        )
        vae.save_pretrained(self.work / "decoder")
        summary["psnr_held_out_views"] = networks.reconstruction_psnr(vae, held_out)
        summary["psnr_panoramas"] = networks.reconstruction_psnr(vae, panoramas)
        summary["blockiness_before"], summary["blockiness"] = before, networks.blockiness(vae, held_out)
        self._record("decoder", summary)

    def train_judge(self) -> None:
        """Judge on square views."""
        torch.manual_seed(self.settings.seed + 1)
        judge = stack.build_judge(self.bpe).to(self.device)
        summary = networks.train_judge(judge, self.views, self.bpe, self.settings.judge, self.work, self.settings.seed)
        held_out = self.held_out
        for pool in (64, len(held_out)):
            if pool <= len(held_out):
                summary[f"recall_at_1_of_{pool}"] = networks.retrieval(judge, held_out, self.bpe, pool)
        torch.save(judge.state_dict(), self.work / "judge_final.pt")
        self._record("judge", summary)

    def train_unet(self) -> None:
        """2D U-Net on the latents of the stills."""
        torch.manual_seed(self.settings.seed + 2)
        unet = self._started("unet", stack.build_unet)
        self._train_on_stills("unet", unet, self.settings.unet, self.settings.seed, weighted=True)

    def train_polish(self) -> None:
        """The 2D U-Net once more, with a plain loss. The motion modules stay: they carry over to a changed base."""
        unet = self._load("unet", UNet2DConditionModel)
        self._train_on_stills("polish", unet, self.settings.polish, self.settings.seed + 4, weighted=False)

    def _train_on_stills(self, name: str, unet: Any, plan: Plan, seed: int, weighted: bool) -> None:
        latents = self._still_latents()
        texts, empty = self._texts(self.stills.captions)
        summary = networks.train_unet(name, unet, latents, texts, empty, plan, self.work, seed, weighted)
        unet.save_pretrained(self.work / name)
        self._record(name, summary)

    def _still_latents(self) -> torch.Tensor:
        return networks.encode_pictures(self.vae, self.stills, self.work / "stills_latents.pt")[:, 0]

    def train_motion(self) -> None:
        """Motion modules on the latents of the clips."""
        latents = networks.encode_pictures(self.vae, self.clips, self.work / "clips_latents.pt")
        texts, empty = self._texts(self.clips.captions)
        unet = self._load("unet", UNet2DConditionModel)
        torch.manual_seed(self.settings.seed + 3)
        adapter = self._started("motion_adapter", stack.build_motion_adapter)
        summary = networks.train_motion(
            unet, adapter, latents, texts, empty, self.settings.motion, self.work, self.settings.seed
        )
        adapter.save_pretrained(self.work / "motion_adapter")
        self._record("motion", summary)

    @property
    def vae(self) -> AutoencoderKL:
        """The VAE as the first training left it: its encoder is the one that ships."""
        return self._load("vae", AutoencoderKL)

    def _load(self, name: str, kind: Any) -> Any:
        if not (self.work / name).is_dir():
            raise PanobenchError(f"{self.work / name} is missing: run `panobench nano pretrain --phase {name}` first")
        return kind.from_pretrained(self.work / name).eval().to(self.device)

    def _started(self, name: str, build: Callable[[], Any]) -> Any:
        """The network that training goes on from: shipped before, or with random weights."""
        if not self.start.is_dir():
            return build().to(self.device)
        return type(build()).from_pretrained(self.start / name).to(self.device)

    def _record(self, name: str, summary: dict[str, float]) -> None:
        plan: Plan = getattr(self.settings, name)
        run = {"batch": plan.batch, "device": torch.device(self.device).type, **summary}
        write_json(self.work / f"{name}.json", run)

    def _judge(self) -> Any:
        path = self.work / "judge_final.pt"
        if not path.exists():
            raise PanobenchError(f"{path} is missing: run `panobench nano pretrain --phase judge` first")
        judge = stack.build_judge(self.bpe)
        judge.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return judge.eval().to(self.device)

    def _texts(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = stack.text_encoder_of(self._judge())
        tokenizer = stack.build_tokenizer(self.bpe, self.work / "tokenizer")
        embedded = networks.embed_texts(encoder, tokenizer, [*captions, ""])
        return embedded[:-1], embedded[-1:]

    # --- shipping -----------------------------------------------------------------------------------------------------

    def export(self, assets: Path) -> None:
        """Write `assets/base`, `assets/motion_adapter`, `assets/judge` as fp16, and the curves and figures beside."""
        self.device = "cpu"
        judge, bpe = self._cut_judge()
        encoder = stack.text_encoder_of(judge)
        unet = self._load("polish", UNet2DConditionModel)
        stack.save_base(assets / "base", self._load("decoder", AutoencoderKL), encoder, unet, bpe)
        stack.save_motion_adapter(assets / "motion_adapter", self._load("motion_adapter", MotionAdapter))
        stack.save_judge(assets / "judge", judge, bpe)
        earlier = read_json(self.start / "training.json") if self.start.is_dir() else {}
        record = {name: earlier.get(name, []) + self._runs(name) for name in PLANS}
        write_json(assets / "training.json", record)
        for name in PLANS:
            self._write_curve(name, len(earlier.get(name, [])) + 1, assets / "curves" / f"{name}.csv")
        write_card(assets, self.settings)

    def _cut_judge(self) -> tuple[Any, Path]:
        """The judge over the tokens that captions hold; others were never trained and would only make files larger."""
        if self.start.is_dir():
            return self._judge(), self.bpe
        bpe = self.work / "bpe_reduced.txt.gz"
        captions = [*self.stills.captions, *self.clips.captions, *self.views.captions]
        rows = stack.reduce_bpe(self.bpe, captions, bpe)
        return stack.with_vocabulary(self._judge(), bpe, rows), bpe

    def _runs(self, name: str) -> list[dict[str, Any]]:
        path = self.work / f"{name}.json"
        return [read_json(path)] if path.exists() else []

    def _write_curve(self, name: str, run: int, path: Path) -> None:
        """Means over 50 steps, run by run: readable, and small enough to ship."""
        parts = []
        if (self.start / "curves" / path.name).exists():
            parts.append(pd.read_csv(self.start / "curves" / path.name))
        if (self.work / path.name).exists():
            curve = pd.read_csv(self.work / path.name)
            curve = curve.groupby((curve.step - 1) // 50).mean().round(6)
            parts.append(curve.assign(run=run)[["run", "step", "loss", "learning_rate"]])
        path.parent.mkdir(exist_ok=True)
        pd.concat(parts).to_csv(path, index=False)


class _Joined(Pictures):
    """Two sets behind one index, without copying them; only `images[i, 0]` is needed of it."""

    def __init__(self, first: Pictures, second: Pictures) -> None:
        object.__setattr__(self, "images", _JoinedArray(first.images, second.images))
        object.__setattr__(self, "captions", first.captions + second.captions)


class _JoinedArray:
    def __init__(self, first: Any, second: Any) -> None:
        self.parts = (first, second)
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __getitem__(self, key: tuple[int, int]) -> Any:
        index, frame = key
        first, second = self.parts
        return first[index, frame] if index < len(first) else second[index - len(first), frame]
