"""Pretraining from end to end: data, VAE, judge, U-Net, motion modules, then the shipped folder `assets/nano`.

Every phase resumes: rendered data, latents and checkpoints in the work folder are used if they are there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel

from core.errors import PanobenchError
from core.files import read_json, write_json
from core.nano import stack
from core.nano.pretrain import networks
from core.nano.pretrain.card import write_card
from core.nano.pretrain.loop import Plan
from core.nano.pretrain.settings import PLANS, Settings
from core.nano.pretrain.world import Pictures, pictures

PHASES = ("data", "vae", "decoder", "judge", "unet", "motion", "polish", "export")


class Pretraining:
    """The phases, each reading what the ones before it left in `work`."""

    def __init__(self, settings: Settings, work: Path, workers: int = 2) -> None:
        self.settings = settings
        self.work = work
        self.workers = workers
        work.mkdir(parents=True, exist_ok=True)
        self.bpe = work / "bpe_simple_vocab.txt.gz"
        if not self.bpe.exists():
            stack.write_bpe(self.bpe)

    def run(self, phases: list[str], assets: Path) -> None:
        """Run the named phases in order."""
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
        vae = stack.build_vae()
        both = _Joined(self.stills, self.panoramas)
        summary = networks.train_vae(vae, both, self.settings.vae, self.work, self.settings.seed)
        networks.normalise_latents(vae, self.stills)
        vae.save_pretrained(self.work / "vae")
        held_out = self.held_out.images[:256, 0]
        panoramas = self.panoramas.images[:64, 0]
        summary["psnr_held_out_views"] = networks.reconstruction_psnr(vae, held_out)
        summary["psnr_panoramas"] = networks.reconstruction_psnr(vae, panoramas)
        write_json(self.work / "vae.json", summary)

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
        write_json(self.work / "decoder.json", summary)

    def train_judge(self) -> None:
        """Judge on square views."""
        torch.manual_seed(self.settings.seed + 1)
        judge = stack.build_judge(self.bpe)
        summary = networks.train_judge(judge, self.views, self.bpe, self.settings.judge, self.work, self.settings.seed)
        held_out = self.held_out
        for pool in (64, len(held_out)):
            if pool <= len(held_out):
                summary[f"recall_at_1_of_{pool}"] = networks.retrieval(judge, held_out, self.bpe, pool)
        torch.save(judge.state_dict(), self.work / "judge_final.pt")
        write_json(self.work / "judge.json", summary)

    def train_unet(self) -> None:
        """2D U-Net on the latents of the stills."""
        torch.manual_seed(self.settings.seed + 2)
        self._train_on_stills("unet", stack.build_unet(), self.settings.unet, self.settings.seed, weighted=True)

    def train_polish(self) -> None:
        """The 2D U-Net once more, with a plain loss. The motion modules stay: they carry over to a changed base."""
        unet = self._load("unet", UNet2DConditionModel)
        self._train_on_stills("polish", unet, self.settings.polish, self.settings.seed + 4, weighted=False)

    def _train_on_stills(self, name: str, unet: Any, plan: Plan, seed: int, weighted: bool) -> None:
        latents = self._still_latents()
        texts, empty = self._texts(self.stills.captions)
        summary = networks.train_unet(name, unet, latents, texts, empty, plan, self.work, seed, weighted)
        unet.save_pretrained(self.work / name)
        write_json(self.work / f"{name}.json", summary)

    def _still_latents(self) -> torch.Tensor:
        return networks.encode_pictures(self.vae, self.stills, self.work / "stills_latents.pt")[:, 0]

    def train_motion(self) -> None:
        """Motion modules on the latents of the clips."""
        latents = networks.encode_pictures(self.vae, self.clips, self.work / "clips_latents.pt")
        texts, empty = self._texts(self.clips.captions)
        unet = self._load("unet", UNet2DConditionModel)
        torch.manual_seed(self.settings.seed + 3)
        adapter = stack.build_motion_adapter()
        summary = networks.train_motion(
            unet, adapter, latents, texts, empty, self.settings.motion, self.work, self.settings.seed
        )
        adapter.save_pretrained(self.work / "motion_adapter")
        write_json(self.work / "motion.json", summary)

    @property
    def vae(self) -> AutoencoderKL:
        """The VAE as the first training left it: its encoder is the one that ships."""
        return self._load("vae", AutoencoderKL)

    def _load(self, name: str, kind: Any) -> Any:
        if not (self.work / name).is_dir():
            raise PanobenchError(f"{self.work / name} is missing: run `panobench nano pretrain --phase {name}` first")
        return kind.from_pretrained(self.work / name).eval()

    def _judge(self) -> Any:
        path = self.work / "judge_final.pt"
        if not path.exists():
            raise PanobenchError(f"{path} is missing: run `panobench nano pretrain --phase judge` first")
        judge = stack.build_judge(self.bpe)
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge.eval()

    def _texts(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = stack.text_encoder_of(self._judge())
        tokenizer = stack.build_tokenizer(self.bpe, self.work / "tokenizer")
        embedded = networks.embed_texts(encoder, tokenizer, [*captions, ""])
        return embedded[:-1], embedded[-1:]

    # --- shipping -----------------------------------------------------------------------------------------------------

    def export(self, assets: Path) -> None:
        """Write `assets/base`, `assets/motion_adapter`, `assets/judge` as fp16, and the curves and figures beside."""
        # Tokens that no caption holds were never trained: their embeddings would only make the files larger.
        bpe = self.work / "bpe_reduced.txt.gz"
        captions = [*self.stills.captions, *self.clips.captions, *self.views.captions]
        rows = stack.reduce_bpe(self.bpe, captions, bpe)
        judge = stack.with_vocabulary(self._judge(), bpe, rows)
        encoder = stack.text_encoder_of(judge)
        unet = self._load("polish", UNet2DConditionModel)
        stack.save_base(assets / "base", self._load("decoder", AutoencoderKL), encoder, unet, bpe)
        stack.save_motion_adapter(assets / "motion_adapter", self._load("motion_adapter", MotionAdapter))
        stack.save_judge(assets / "judge", judge, bpe)
        record = {name: read_json(self.work / f"{name}.json") for name in PLANS}
        write_json(assets / "training.json", record)
        curves = assets / "curves"
        curves.mkdir(exist_ok=True)
        for name in record:
            curve = pd.read_csv(self.work / f"{name}.csv")
            # Means over 50 steps: readable, and small enough to ship.
            curve.groupby((curve.step - 1) // 50).mean().round(6).to_csv(curves / f"{name}.csv", index=False)
        write_card(assets, self.settings)


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
