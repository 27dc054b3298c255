"""The networks that metrics may need, by role: passed in, loaded only if a metric asks for what they make."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.device import default_device, named_device
from core.errors import PanobenchError
from evaluation.autoencoder import Autoencoder, load_autoencoder
from evaluation.inception import Inception, load_inception
from evaluation.judge import Judge, load_judge
from evaluation.perceptual import JudgeLpips, Lpips, load_lpips
from evaluation.precision import Precision
from evaluation.video_network import VideoNetwork, load_video_network
from evaluation.weights import Role, find_weights


@dataclass(frozen=True)
class Networks:
    """What is loaded; None where no metric asks.

    Attributes:
        judge: the CLIP model.
        judge_lpips: a distance of LPIPS's form over the judge's image tower.
        lpips: the published LPIPS.
        inception: Inception-v3 of FID and KID.
        faed: the panorama autoencoder.
        video: I3D or VideoMAE.
        device: type of the device that they run on.
    """

    judge: Judge | None = None
    judge_lpips: JudgeLpips | None = None
    lpips: Lpips | None = None
    inception: Inception | None = None
    faed: Autoencoder | None = None
    video: VideoNetwork | None = None
    device: str = "cpu"

    @property
    def precision(self) -> Precision:
        """That of the judge and of LPIPS; without them all count in float32."""
        return next((network.precision for network in (self.judge, self.lpips) if network is not None), "fp32")

    def record(self) -> dict[str, dict[str, str]]:
        """Role -> name and hash of the weights, for ``settings.json``; the judge has its own entry there."""
        found: dict[str, dict[str, str]] = {}
        for field in fields(self):
            network = getattr(self, field.name)
            if network is not None and field.name != "device" and not field.name.startswith("judge"):
                found[field.name] = {"name": network.name, "sha256": network.sha256}
        return found


_LOADERS: Mapping[str, Callable[[Path, str], Any]] = {
    "inception": load_inception,
    "faed": load_autoencoder,
    "video": load_video_network,
}


def load_networks(
    roles: Set[Role],
    judge: Path | None,
    weights: Mapping[str, str | None],
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Networks:
    """Load what the roles name.

    Args:
        roles: union over the metrics at hand (``roles_of`` in evaluation/features.py).
        judge: folder of the judge, if a role is its.
        weights: ``scoring.weights``, role -> path.
        device: a torch device, or "auto": core.device.default_device.
        precision: of the judge and of LPIPS.

    Raises:
        PanobenchError: weights that are missing or do not fit, or a device that is not here.
    """
    device = str(default_device() if device == "auto" else named_device(device, "--device"))
    loaded: dict[str, Any] = {}
    if "judge" in roles or "judge_lpips" in roles:
        if judge is None:
            raise PanobenchError("no judge given; set scoring.judge in params.yaml, or --judge")
        loaded["judge"] = load_judge(judge, device, precision)
    if "judge_lpips" in roles:
        loaded["judge_lpips"] = JudgeLpips(loaded["judge"])
    if "lpips" in roles:
        loaded["lpips"] = load_lpips(find_weights("lpips", weights), device, precision)
    for role in sorted(roles & _LOADERS.keys()):
        loaded[role] = _LOADERS[role](find_weights(role, weights), device)
    return Networks(**loaded, device=device.partition(":")[0])
