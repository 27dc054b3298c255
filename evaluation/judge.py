"""The judge: a CLIP model that scores views against text, loaded from a folder, never from the network.

Folder: ``open_clip_config.json`` (``model_cfg`` and ``preprocess_cfg`` as open_clip writes them),
``open_clip_model.safetensors``, and, if the model was trained with a vocabulary of its own,
``bpe_simple_vocab.txt.gz``. A model that open_clip saved with ``push_to_hf_hub`` has the same layout.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from core.device import default_device
from core.errors import PanobenchError
from core.files import read_json, sha256
from evaluation.precision import DTYPES, Precision, precision_of

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
VOCABULARY = "bpe_simple_vocab.txt.gz"

# Views per forward pass. Fixed, and never mixing videos: another batch size changes the last bits of an embedding.
_BATCH = 64


class Judge:
    """An open_clip model with its preprocessing and tokenizer.

    Attributes:
        name: folder name, for the record of what scored.
        sha256: hash of the weights file.
        image_size: side of the square pictures it takes, in pixels.
        preprocessing: what is done to a picture, for records: size, mean and standard deviation.
        precision: that of the model's weights.
    """

    def __init__(
        self,
        model: Any,  # open_clip CLIP or CustomTextCLIP
        tokenizer: Any,  # open_clip tokenizer
        image_size: int,
        mean: tuple[float, ...],  # per channel, for pictures in [0, 1]
        std: tuple[float, ...],
        name: str = "judge",
        sha256: str = "",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.name = name
        self.sha256 = sha256
        self.device = next(model.parameters()).device
        self.preprocessing = [image_size, list(mean), list(std)]
        self.precision = precision_of(model)
        self._texts: dict[tuple[str, ...], torch.Tensor] = {}
        self._mean = torch.tensor(mean, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(3, 1, 1)

    @torch.inference_mode()
    def encode_image(self, views: torch.Tensor) -> torch.Tensor:
        """Embeddings of pictures.

        Args:
            views: (N, 3, S, S) float, [0, 1], S = image_size; not normalised, never resized here.

        Returns:
            (N, D) float32 on the CPU, unit norm.

        Raises:
            ValueError: another shape, or values outside [0, 1].
        """
        expected = (3, self.image_size, self.image_size)
        if views.ndim != 4 or tuple(views.shape[1:]) != expected:
            raise ValueError(f"views must be (N, {', '.join(map(str, expected))}), got {tuple(views.shape)}")
        if not views.is_floating_point() or not bool((views >= 0).all() and (views <= 1).all()):  # NaN fails too
            raise ValueError("views must be floats in [0, 1]")
        parts = []
        for batch in views.split(_BATCH):
            picture = ((batch.to(self.device) - self._mean) / self._std).to(DTYPES[self.precision])
            parts.append(F.normalize(self.model.encode_image(picture).float(), dim=-1).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """N texts -> (N, D) float32 on the CPU, unit norm. What exceeds the context length is cut, as by open_clip.

        The last texts are remembered: a video asks for its own at every stretch.
        """
        key = tuple(prompts)
        if key not in self._texts:
            if len(self._texts) > 16:
                self._texts.clear()
            tokens = self.tokenizer(prompts).to(self.device)
            self._texts[key] = F.normalize(self.model.encode_text(tokens).float(), dim=-1).cpu()
        return self._texts[key]


def _folder(given: str | Path) -> Path:
    """The judge's folder: as given, or that of ``hf-hub:ORG/NAME`` in Hugging Face's cache; nothing is downloaded."""
    _, hub, name = str(given).partition("hf-hub:")
    if not hub:
        if not Path(given).is_dir():
            raise PanobenchError(
                f"{given}: no judge there; set scoring.judge in params.yaml (or --judge) to its folder"
            )
        return Path(given)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise PanobenchError(
            f"hf-hub:{name}: not in Hugging Face's cache, and nothing is downloaded while scoring; get it once with "
            f"`hf download {name}`, or give scoring.judge (--judge) a folder of it"
        ) from None


def load_judge(folder: str | Path, device: str = "cpu", precision: Precision = "fp32") -> Judge:
    """Load a judge folder (module docstring).

    Args:
        folder: where it is, or ``hf-hub:ORG/NAME``: where Hugging Face's cache has it.
        device: a torch device, or "auto": core.device.default_device.
        precision: in bf16, norms and position embeddings stay in float32, as open_clip does it.

    Raises:
        PanobenchError: the folder or one of its files is missing or does not fit; the line names it.
    """
    folder = _folder(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise PanobenchError(f"{folder / name}: missing; a judge folder holds {CONFIG} and {WEIGHTS}")
    config = read_json(folder / CONFIG)
    try:
        preprocessing = config["preprocess_cfg"]
        mean, std = tuple(preprocessing["mean"]), tuple(preprocessing["std"])
        image_size = config["model_cfg"]["vision_cfg"]["image_size"]
        context_length = config["model_cfg"]["text_cfg"].get("context_length", 77)
    except (KeyError, TypeError) as error:
        raise PanobenchError(f"{folder / CONFIG}: lacks {error}; expected model_cfg and preprocess_cfg") from None

    import open_clip
    import safetensors

    try:
        if device == "auto":
            device = str(default_device())
        model = open_clip.create_model(
            f"local-dir:{folder}", precision=precision, device=device, require_pretrained=True
        )
    except (RuntimeError, ValueError, TypeError, OSError, safetensors.SafetensorError) as error:
        raise PanobenchError(f"{folder}: not loadable as an open_clip model ({str(error).splitlines()[0]})") from error
    if (folder / VOCABULARY).is_file():
        tokenizer = open_clip.SimpleTokenizer(bpe_path=str(folder / VOCABULARY), context_length=context_length)
    else:
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return Judge(model, tokenizer, int(image_size), mean, std, folder.name, sha256(folder / WEIGHTS))
