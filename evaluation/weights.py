"""Where the weights of a network come from: the path that was given, else a cache on this machine, else a clear error.

Nothing is ever downloaded while scoring: a number must not depend on what a server sends today.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import PanobenchError, did_you_mean

#: What a network does for the metrics. "judge" is the CLIP model, whose folder is scoring.judge; "judge_lpips" is its
#: image tower as a perceptual distance.
Role = Literal["judge", "judge_lpips", "lpips", "inception", "faed", "video"]


@dataclass(frozen=True)
class Source:
    """What the weights of one role are.

    Attributes:
        what: the network, for messages.
        cached: names under which the file stands in PyTorch's cache (``torch.hub.get_dir()/checkpoints``).
        remedy: what to get, and from whom.
    """

    what: str
    cached: tuple[str, ...]
    remedy: str


SOURCES: Mapping[str, Source] = {
    "lpips": Source(
        "the AlexNet under LPIPS",
        ("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"),
        "torchvision's ImageNet weights of AlexNet, alexnet-owt-7be5be79.pth",
    ),
    "inception": Source(
        "Inception-v3 of FID and KID",
        ("inception-2015-12-05.pt",),
        "the TorchScript file inception-2015-12-05.pt of StyleGAN and clean-fid",
    ),
    "faed": Source(
        "the panorama autoencoder of FAED",
        ("faed.ckpt",),
        "PanFusion's checkpoint faed.ckpt, or a state dict of evaluation.autoencoder.PanoramaEncoder",
    ),
    "video": Source(
        "the video network of FVD",
        ("i3d_torchscript.pt",),
        "StyleGAN-V's TorchScript I3D (i3d_torchscript.pt), or the folder of a VideoMAE of transformers",
    ),
}


def find_weights(role: str, given: Mapping[str, str | None]) -> Path:
    """The weights file (or folder) of a role.

    Args:
        role: key of ``SOURCES``.
        given: ``scoring.weights`` of the parameters, role -> path.

    Raises:
        PanobenchError: not at the path that was given, or no path given and not in the cache; says what to get, and
            where to put it.
    """
    source = SOURCES[role]
    if path := given.get(role):
        if not Path(path).exists():
            raise PanobenchError(f"{path}: no such file; scoring.weights.{role} names {source.what}: {source.remedy}")
        return Path(path)
    import torch.hub

    cache = Path(torch.hub.get_dir()) / "checkpoints"
    for name in source.cached:
        if (cache / name).is_file():
            return cache / name
    where = f"put it into {cache}, or " if source.cached else ""
    raise PanobenchError(
        f"{source.what} is not here: get {source.remedy}, and {where}name its path in scoring.weights.{role} "
        f"(--weights {role}=PATH)"
    )


def parse_weights(pairs: tuple[str, ...]) -> dict[str, str | None]:
    """``ROLE=PATH`` of the command line.

    Raises:
        PanobenchError: another form, or an unknown role.
    """
    given: dict[str, str | None] = {}
    for text in pairs:
        role, equals, path = text.partition("=")
        if not (role and equals and path):
            raise PanobenchError(f"--weights: expected ROLE=PATH, got '{text}'")
        if role not in SOURCES:
            hint = did_you_mean(role, list(SOURCES)) or f"; known: {', '.join(SOURCES)}"
            raise PanobenchError(f"--weights: unknown role '{role}'{hint}")
        given[role] = path
    return given
