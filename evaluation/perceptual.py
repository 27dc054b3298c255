"""LPIPS: a distance between pictures in the activations of a network (Zhang et al. 2018).

Two of them. ``Lpips`` is the published one: AlexNet with the heads that the ``lpips`` package ships, to the last digit.
``JudgeLpips`` has the same form over the stages of the judge's image tower, every channel weighted alike: it needs no
weights of its own, is not the published metric, and whatever is computed with it says so in its name.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from core.errors import PanobenchError
from core.files import sha256
from evaluation.judge import Judge
from evaluation.precision import DTYPES, Precision, precision_of
from evaluation.views import resize_views

# Pictures per forward pass, fixed: another batch size changes the last bits.
_BATCH = 16
_LEAST_SIZE = 64
_EPSILON = 1e-10  # of the lpips package


class Perceptual(Protocol):
    """A distance in two steps, so that a picture that is compared several times is looked at once."""

    name: str
    sha256: str

    def activations(self, pictures: Tensor) -> list[Tensor]:
        """(N, 3, S, S) float, [0, 1] -> per layer (N, C, h', w'), normalised over channels."""

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Two sets of N activations -> (N,) float32, 0 and up."""


class Lpips:
    """The published LPIPS 0.1, from the modules of the ``lpips`` package.

    Views of fewer than 64 pixels are enlarged to the 64 on which LPIPS was calibrated; AlexNet takes none below 31.
    """

    def __init__(self, model: Any, digest: str = "") -> None:  # lpips.LPIPS, trunk loaded
        self.name = f"lpips-{model.pnet_type}-{model.version}"
        self.sha256 = digest
        # Channels last: the convolutions take a fifth less time, the norms over channels a tenth of what they took.
        self._model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._device = next(model.parameters()).device
        self.precision = precision_of(model.net)
        # The package's scaling of 2 x - 1, in one step.
        layer = model.scaling_layer
        self._gain, self._offset = 2 / layer.scale, -(1 + layer.shift) / layer.scale
        self._heads = [lin.model[-1].weight.flatten().cpu() for lin in model.lins]  # (C,) each

    @torch.inference_mode()
    def activations(self, pictures: Tensor) -> list[Tensor]:
        """See Perceptual."""
        pictures = resize_views(pictures, max(_LEAST_SIZE, pictures.shape[-1]))
        parts = []
        for batch in pictures.split(_BATCH):
            scaled = torch.addcmul(self._offset, batch.to(self._device), self._gain)
            layers = self._model.net(scaled.to(DTYPES[self.precision], memory_format=torch.channels_last))
            parts.append([_unit(layer).cpu() for layer in layers])
        return [_joined(layer) for layer in zip(*parts, strict=True)]

    @torch.inference_mode()
    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """See Perceptual."""
        layers = [(x - y).square_().mean(dim=(2, 3)) @ head for x, y, head in zip(a, b, self._heads, strict=True)]
        return torch.stack(layers).sum(dim=0)


class JudgeLpips:
    """The form of LPIPS over the judge's image tower: every stage's output, every channel and stage alike.

    Works for the two towers of open_clip: a ResNet (stages) and a vision transformer (a third, two thirds and all of
    the blocks). Pictures are brought to the judge's size, as for its embeddings.
    """

    def __init__(self, judge: Judge) -> None:
        self.name = f"lpips-form-{judge.name}"
        self.sha256 = judge.sha256
        self._judge = judge
        self._here = threading.local()  # what is found in a pass belongs to the thread that makes it
        layers = _stages(judge.model)
        # These hooks stay: none may come or go while another thread is in the model.
        self._count = len(layers)
        for index, layer in enumerate(layers):
            layer.register_forward_hook(self._keep(index))

    def _keep(self, index: int) -> Callable[[Any, Any, Tensor], None]:
        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            found: list[list[Tensor]] | None = getattr(self._here, "found", None)
            if found is not None:  # this thread is in look, not in a pass of the judge's own
                found[index].append(_unit(_as_map(output)).cpu())

        return keep

    def activations(self, pictures: Tensor) -> list[Tensor]:
        """See Perceptual."""
        return self.look(pictures)[1]

    @torch.inference_mode()
    def look(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The judge's embeddings (N, D) and the activations, from one pass."""
        found: list[list[Tensor]] = [[] for _ in range(self._count)]
        self._here.found = found
        try:
            embeddings = self._judge.encode_image(resize_views(pictures, self._judge.image_size))
        finally:
            del self._here.found
        return embeddings, [_joined(layer) for layer in found]

    @torch.inference_mode()
    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """See Perceptual."""
        layers = [(x - y).square_().sum(dim=1).flatten(1).mean(dim=1) for x, y in zip(a, b, strict=True)]
        return torch.stack(layers).mean(dim=0)


def load_lpips(trunk: Path, device: str = "cpu", precision: Precision = "fp32") -> Lpips:
    """The published LPIPS: its heads from the package, its AlexNet from ``trunk``.

    Args:
        trunk: torchvision's state dict of AlexNet.
        device: a torch device.
        precision: of the AlexNet; the distance between its activations is taken in float32.

    Raises:
        PanobenchError: the file is no such state dict.
    """
    import lpips

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package calls torchvision as of 2021
        model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    try:
        state = torch.load(trunk, map_location="cpu", weights_only=True)
        # The package cuts torchvision's "features" into five slices and keeps their numbers.
        number_of = {name.split(".")[1]: name for name in model.net.state_dict() if name.endswith(".weight")}
        renamed = {}
        for number, name in number_of.items():
            renamed[name] = state[f"features.{number}.weight"]
            renamed[name.replace(".weight", ".bias")] = state[f"features.{number}.bias"]
        model.net.load_state_dict(renamed)
    except Exception as error:  # torch.load and load_state_dict raise whatever pickle, zip and tensors raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PanobenchError(f"{trunk}: not torchvision's weights of AlexNet ({reason})") from error
    model.net.to(DTYPES[precision])
    return Lpips(model.to(device), sha256(trunk))


def _unit(layer: Tensor) -> Tensor:
    """Normalised over channels, as ``lpips.normalize_tensor``."""
    layer = layer.float()
    return layer / (torch.linalg.vector_norm(layer, dim=1, keepdim=True) + _EPSILON)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts one after another; a copy only if there are several."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts))


def _as_map(output: Tensor) -> Tensor:
    """A stage's output as (N, C, h, w): a transformer's tokens (N, L, C) become (N, C, L, 1)."""
    return output if output.ndim == 4 else output.movedim(-1, 1).unsqueeze(-1)


def _stages(model: Any) -> list[Any]:
    visual = model.visual
    if hasattr(visual, "layer4"):
        return [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    if hasattr(getattr(visual, "transformer", None), "resblocks"):
        blocks = visual.transformer.resblocks
        return [blocks[round(len(blocks) * share) - 1] for share in (1 / 3, 2 / 3, 1) if round(len(blocks) * share)]
    raise PanobenchError(
        f"scoring.judge: the image tower {type(visual).__name__} has no stages that a distance can be read from; "
        "leave out the metrics whose name ends in _judge"
    )
