"""What people call today for the questions of panobench's default metrics, on the same views: the original packages.

Every peer is a tool of its own: it decodes the clip, cuts the views that it needs with py360convert, and runs its
network. None is made slower than it is: every frame is embedded once per tool, in the batches that panobench takes.
Flow is OpenCV's, as panobench's is. VBench and EvalCrafter take RAFT for it; one pair is timed, and said apart.
What the default set asks and no package answers (poles, cube edges, the gate, the seam beside its neighbours, turn and
travel of the camera) has no peer: it costs panobench time and the peers nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import lpips
import numpy as np
import open_clip
import py360convert
import torch
from PIL import Image
from scipy.ndimage import convolve
from torchvision.models.optical_flow import raft_large

from core.video import write_video
from evaluation.precision import DTYPES, Precision
from evaluation.views import VIEW_SETS, ViewOptions

PROMPT = "a castle behind the viewer, a meadow, a cloudy sky"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Size:
    """What is scored, and with which CLIP (a name of open_clip, or None for a tiny one)."""

    height: int
    frames: int
    clip: str | None


SIZES = {"paper": Size(512, 16, "ViT-B-32"), "tiny": Size(64, 4, None)}


@dataclass(frozen=True)
class Work:
    """Networks and a clip, the same for everybody."""

    model: Any
    tokenizer: Any
    side: int
    trunk: Any  # lpips.LPIPS
    file: Path
    size: Size

    @property
    def view_side(self) -> int:
        """Pixels of a view."""
        return ViewOptions().view_set(2 * self.size.height).size


def load(size: Size, file: Path, precision: Precision = "fp32") -> Work:
    """Random weights, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if size.clip:
            model, side = open_clip.create_model(size.clip, precision=precision), 224
            tokenizer = open_clip.get_tokenizer(size.clip)
        else:
            side = 32
            vision = {"image_size": side, "patch_size": 16, "width": 32, "layers": 3, "head_width": 16}
            text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
            model, tokenizer = open_clip.CLIP(16, vision, text), open_clip.SimpleTokenizer()
            if precision == "bf16":
                open_clip.convert_weights_to_lp(model, torch.bfloat16)
        trunk = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        trunk.net.to(DTYPES[precision])
    return Work(model.eval(), tokenizer, side, trunk.eval(), file, size)


def write_clip(file: Path, size: Size) -> None:
    """Drifting smooth texture that closes at the seam."""
    coarse = np.random.default_rng(0).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    picture = cv2.resize(np.tile(coarse, (1, 3, 1)), (6 * size.height, size.height), interpolation=cv2.INTER_CUBIC)
    picture = picture[:, 2 * size.height : 4 * size.height]
    write_video(file, (np.roll(picture, 3 * t, axis=1) for t in range(size.frames)), 8.0)


# --- the peers ------------------------------------------------------------------------------------------------------


def decode(work: Work) -> np.ndarray:
    """(F, H, W, 3) uint8."""
    with av.open(str(work.file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def cut_views(work: Work, frames: np.ndarray) -> list[list[np.ndarray]]:
    """The same twelve views of every frame, by py360convert."""
    side = work.view_side
    return [
        [
            py360convert.e2p(frame, (90, 90), yaw if yaw <= 180 else yaw - 360, pitch, (side, side), mode="bilinear")
            for yaw, pitch in VIEW_SETS["sphere12"]
        ]
        for frame in frames
    ]


@torch.inference_mode()
def clip_embeddings(work: Work, frames: np.ndarray) -> torch.Tensor:
    """(F, V, D) by open_clip and its own preprocessing."""
    preprocess = open_clip.image_transform(work.side, is_train=False, mean=MEAN, std=STD)
    found = []
    for views in cut_views(work, frames):
        pictures = torch.stack([preprocess(Image.fromarray(view)) for view in views])
        found.append(work.model.encode_image(pictures, normalize=True))
    return torch.stack(found)


@torch.inference_mode()
def peer_alignment(work: Work) -> float:
    """CLIP score of all views."""
    text = work.model.encode_text(work.tokenizer([PROMPT]), normalize=True)[0]
    return float((clip_embeddings(work, decode(work)) @ text).mean())


def peer_consistency(work: Work) -> float:
    """CLIP similarity to the previous and the first frame (VBench)."""
    x = clip_embeddings(work, decode(work))
    return float((((x[1:] * x[:-1]).sum(-1) + (x[1:] * x[:1]).sum(-1)) / 2).mean())


@torch.inference_mode()
def peer_lpips(work: Work) -> float:
    """LPIPS of consecutive views, by the lpips package."""
    views = torch.from_numpy(np.array(cut_views(work, decode(work)))).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return float(torch.stack([work.trunk(a, b).mean() for a, b in itertools.pairwise(views)]).mean())


def _planar_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)  # type: ignore[call-overload]


def _along_flow(work: Work) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each pair of frames: the first, the second warped to it, and where forward and backward flow agree."""
    frames = decode(work)
    height, width = frames.shape[1:3]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    for a, b in itertools.pairwise(frames):
        flow, back = _planar_flow(a, b), _planar_flow(b, a)
        at = columns + flow[..., 0], rows + flow[..., 1]
        warped, home = (cv2.remap(x, *at, cv2.INTER_LINEAR) for x in (b, back))
        yield a, warped, np.square(flow + home).sum(-1) < 0.01 * (np.square(flow) + np.square(home)).sum(-1) + 0.5


def peer_warping(work: Work) -> float:
    """Warping error (Lai et al. 2018), planar, both directions of flow."""
    errors = [np.abs(a.astype(np.float32) - warped)[seen].mean() for a, warped, seen in _along_flow(work)]
    return float(np.mean(errors))


def peer_compensated_flicker(work: Work) -> float:
    """Change of brightness along the flow, over blocks: flicker with the motion taken out."""
    found = []
    for a, warped, seen in _along_flow(work):
        signed = (a.astype(np.float32) - warped) * seen[..., None]
        side = a.shape[0] // 16
        found.append(np.abs(cv2.blur(signed, (side, side))).mean())
    return float(np.mean(found))


def peer_flicker(work: Work) -> float:
    """Mean absolute frame difference: temporal flickering of VBench."""
    return float(np.mean([cv2.absdiff(a, b).mean() for a, b in itertools.pairwise(decode(work))]))


def peer_sharpness(work: Work) -> float:
    """Variance of the Laplacian of every view."""
    views = itertools.chain.from_iterable(cut_views(work, decode(work)))
    return float(np.mean([cv2.Laplacian(cv2.cvtColor(v, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for v in views]))


def peer_noise(work: Work) -> float:
    """Immerkaer's estimate in every view."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    views = itertools.chain.from_iterable(cut_views(work, decode(work)))
    greys = (cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(np.float32) for view in views)
    return float(np.mean([np.abs(cv2.filter2D(grey, -1, kernel)).mean() for grey in greys]))


def peer_contrast(work: Work) -> float:
    """Standard deviation of the grey levels of every view."""
    views = itertools.chain.from_iterable(cut_views(work, decode(work)))
    return float(np.mean([cv2.meanStdDev(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY))[1].item() for view in views]))


def peer_discontinuity(work: Work) -> float:
    """Discontinuity Score (Christensen et al. 2024) at the seam, on the six columns that it takes."""
    grey = decode(work)[:, :, [-3, -2, -1, 0, 1, 2]] @ np.array([0.299, 0.587, 0.114]) / 255
    kernel = np.array([[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]])
    a = np.abs(np.stack([convolve(frame, kernel) for frame in grey]))[:, 1:-1, 1:-1]
    return float((a[..., 1] / (a[..., 0] + 0.1) + a[..., 2] / (a[..., 3] + 0.1)).mean() / 2)


def peer_motion(work: Work) -> float:
    """Mean length of planar flow: the dynamic degree of VBench."""
    frames = decode(work)
    return float(np.mean([np.linalg.norm(_planar_flow(a, b), axis=-1).mean() for a, b in itertools.pairwise(frames)]))


@torch.inference_mode()
def raft_of_a_pair(work: Work) -> None:
    """Flow of one pair of frames by torchvision's RAFT, twelve iterations, random weights."""
    network = raft_large(weights=None, progress=False).eval()
    a, b = (torch.from_numpy(frame).permute(2, 0, 1)[None] / 127.5 - 1 for frame in decode(work)[:2])
    network(a, b, num_flow_updates=12)


#: Flows that the peers ask for, of each pair of frames: forth and back for the two along the motion, forth for motion.
FLOWS = 5

PEERS: dict[str, Callable[[Work], float]] = {
    "CLIP alignment (open_clip)": peer_alignment,
    "CLIP frame consistency (open_clip)": peer_consistency,
    "tLPIPS (lpips)": peer_lpips,
    "sharpness of views (OpenCV)": peer_sharpness,
    "noise of views (OpenCV)": peer_noise,
    "contrast of views (OpenCV)": peer_contrast,
    "flicker (OpenCV)": peer_flicker,
    "warping error (OpenCV)": peer_warping,
    "flicker along the motion (OpenCV)": peer_compensated_flicker,
    "motion (OpenCV)": peer_motion,
    "Discontinuity Score (SciPy)": peer_discontinuity,
}

#: The metrics of panobench that answer the same questions, in the order of the peers.
SAME_QUESTIONS = (
    "clip_alignment",
    "clip_consistency",
    "tlpips",
    "view_blur",
    "view_noise",
    "view_contrast",
    "flicker",
    "warping_error",
    "flicker_compensated",
    "motion_speed",
    "discontinuity_score",
)
