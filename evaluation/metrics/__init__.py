"""The metrics, by name. Adding one is one file and one line here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import PanobenchError, did_you_mean
from core.registry import Registry

if TYPE_CHECKING:
    from evaluation.metrics.base import AnyMetric

#: Metric classes, imported on first use, in the order in which tables list them.
METRICS: "Registry[type[AnyMetric]]" = Registry(
    "metric",
    {
        "seam_ratio": "evaluation.metrics.seam:SeamRatio",
        "seam_ratio_local": "evaluation.metrics.seam:SeamRatioLocal",
        "seam_percentile": "evaluation.metrics.seam:SeamPercentile",
        "seam_step": "evaluation.metrics.seam:SeamStep",
        "seam_ratio_temporal": "evaluation.metrics.seam:SeamRatioTemporal",
        "seam_ratio_grid": "evaluation.metrics.seam_grid:SeamRatioGrid",
        "seam_row_percentile": "evaluation.metrics.seam_grid:SeamRowPercentile",
        "seam_ssim": "evaluation.metrics.seam_strips:SeamSsim",
        "seam_lpips": "evaluation.metrics.seam_strips:SeamLpips",
        "seam_lpips_judge": "evaluation.metrics.seam_strips:SeamLpipsJudge",
        "discontinuity_score": "evaluation.metrics.discontinuity:DiscontinuityScore",
        "discontinuity_ratio": "evaluation.metrics.discontinuity:DiscontinuityRatio",
        "pole_spread": "evaluation.metrics.pole_spread:PoleSpread",
        "pole_ratio": "evaluation.metrics.edges:PoleRatio",
        "cube_edge_ratio": "evaluation.metrics.edges:CubeEdgeRatio",
        "open_ends": "evaluation.metrics.open_ends:OpenEnds",
        "clip_alignment": "evaluation.metrics.clip_alignment:ClipAlignment",
        "directional_alignment": "evaluation.metrics.directional_alignment:DirectionalAlignment",
        "content_distribution": "evaluation.metrics.content_distribution:ContentDistribution",
        "is_360": "evaluation.metrics.is_360:Is360",
        "field_of_view": "evaluation.metrics.is_360:FieldOfView",
        "clip_consistency": "evaluation.metrics.clip_consistency:ClipConsistency",
        "warping_error": "evaluation.metrics.warping_error:WarpingError",
        "tlpips": "evaluation.metrics.temporal_lpips:TemporalLpips",
        "tlpips_judge": "evaluation.metrics.temporal_lpips:TemporalLpipsJudge",
        "flicker": "evaluation.metrics.flicker:Flicker",
        "flicker_compensated": "evaluation.metrics.coherent_motion:FlickerCompensated",
        "motion_speed": "evaluation.metrics.motion_speed:MotionSpeed",
        "rotation_speed": "evaluation.metrics.motion_speed:RotationSpeed",
        "translation_speed": "evaluation.metrics.motion_decomposition:TranslationSpeed",
        "residual_speed": "evaluation.metrics.motion_decomposition:ResidualSpeed",
        "motion_explained": "evaluation.metrics.motion_decomposition:MotionExplained",
        "coherent_motion": "evaluation.metrics.coherent_motion:CoherentMotion",
        "motion_distribution": "evaluation.metrics.motion_distribution:MotionDistribution",
        "view_blur": "evaluation.metrics.view_quality:ViewBlur",
        "view_noise": "evaluation.metrics.view_quality:ViewNoise",
        "view_contrast": "evaluation.metrics.view_quality:ViewContrast",
        "clip_mmd": "evaluation.metrics.mmd:ClipMmd",
        "kid": "evaluation.metrics.mmd:Kid",
        "omnifid": "evaluation.metrics.frechet:OmniFid",
        "faed": "evaluation.metrics.frechet:Faed",
        "view_fvd": "evaluation.metrics.frechet:ViewFvd",
        "ws_psnr": "evaluation.metrics.paired:WsPsnr",
        "ws_ssim": "evaluation.metrics.paired:WsSsim",
        "s_psnr": "evaluation.metrics.paired:SPsnr",
        "end_point_error": "evaluation.metrics.paired:EndPointError",
        "view_lpips": "evaluation.metrics.paired:ViewLpips",
        "view_lpips_judge": "evaluation.metrics.paired:ViewLpipsJudge",
    },
)


def create_metrics(options: Mapping[str, Mapping[str, Any] | None], source: str = "params.yaml") -> "list[AnyMetric]":
    """Metrics with their parameters, in the registry's order.

    Args:
        options: metric name -> its parameters; empty or None for the defaults.
        source: file to name in messages.

    Raises:
        PanobenchError: an unknown metric or parameter, or a value out of range; the line suggests the nearest name.
    """
    for name in options:
        METRICS.get(name)  # raises for an unknown name, before anything else is reported
    return [_create(name, options[name] or {}, source) for name in METRICS.names() if name in options]


def _create(name: str, options: Mapping[str, Any], source: str) -> "AnyMetric":
    from pydantic import ValidationError

    metric = METRICS.get(name)
    try:
        return metric(**options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = f"{source}: scoring.metrics.{name}.{'.'.join(str(part) for part in first['loc'])}"
        known = list(metric.model_fields)
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][0]), known) or f" (known: {', '.join(known) or 'none'})"
            raise PanobenchError(f"{key}: unknown parameter{hint}") from None
        raise PanobenchError(f"{key}: {first['msg']}, found {first['input']!r}") from None
