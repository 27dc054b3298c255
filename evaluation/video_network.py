"""The network behind FVD: features of a clip of one view.

Two kinds, told apart by what the path is. A file is the TorchScript I3D of StyleGAN-V (``i3d_torchscript.pt``), whose
400 logits classic FVD compares. A folder is a VideoMAE of transformers; its tokens are averaged (as in content-debiased
FVD, Ge et al. 2024, which looks less at the content of single frames).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import PanobenchError
from core.files import read_json, sha256
from evaluation.views import resize_views

_SIZE = 224
_I3D_FRAMES = 16


class VideoNetwork:
    """A network over clips, with its preprocessing.

    Attributes:
        name: for the record of what scored.
        sha256: hash of the weights file.
        frames: length of the clips that it looks at: the first frames of a video.
    """

    def __init__(self, model: Any, name: str, frames: int, mean: Tensor, std: Tensor, digest: str = "") -> None:
        self.name, self.frames, self.sha256 = name, frames, digest
        self._model = model
        self._mean, self._std = mean.view(3, 1, 1), std.view(3, 1, 1)
        self._is_script = isinstance(model, torch.jit.ScriptModule)

    def prepare(self, views: Tensor) -> Tensor:
        """(N, 3, S, S) float, [0, 1] -> (N, 3, 224, 224): what is kept of each frame until the clip is complete."""
        return resize_views(views, _SIZE)

    @torch.inference_mode()
    def features(self, clips: Tensor) -> Tensor:
        """(N, frames, 3, 224, 224) float, [0, 1] -> (N, D) float32 on the CPU."""
        found = []
        for clip in ((clips - self._mean) / self._std).split(1):
            clip = clip.to(next(iter(self._model.parameters())).device)
            if self._is_script:
                logits = self._model(clip.transpose(1, 2), rescale=False, resize=False, return_features=True)
                found.append(logits.reshape(1, -1).float().cpu())
            else:
                found.append(self._model(pixel_values=clip).last_hidden_state.mean(dim=1).float().cpu())
        return torch.cat(found)


def load_video_network(path: Path, device: str = "cpu") -> VideoNetwork:
    """Load I3D from a TorchScript file, or a VideoMAE from a transformers folder.

    Raises:
        PanobenchError: the path is neither.
    """
    try:
        return _load_videomae(path, device) if path.is_dir() else _load_i3d(path, device)
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PanobenchError(
            f"{path}: neither the TorchScript I3D of StyleGAN-V (a file) nor a VideoMAE of transformers (a folder): "
            f"{reason}"
        ) from error


def _load_i3d(path: Path, device: str) -> VideoNetwork:
    model = torch.jit.load(path, map_location=device).eval()
    half = torch.full((3,), 0.5)
    return VideoNetwork(model, "i3d-kinetics400", _I3D_FRAMES, half, half, sha256(path))


def _load_videomae(path: Path, device: str) -> VideoNetwork:
    from transformers import VideoMAEModel

    processor = read_json(path / "preprocessor_config.json")
    model = VideoMAEModel.from_pretrained(path, local_files_only=True).eval().requires_grad_(False).to(device)
    weights = next(file for file in (path / "model.safetensors", path / "pytorch_model.bin") if file.is_file())
    mean, std = (torch.tensor(processor[key], dtype=torch.float32) for key in ("image_mean", "image_std"))
    return VideoNetwork(model, f"videomae-{path.name}", model.config.num_frames, mean, std, sha256(weights))
