"""The default set: the metrics that kept every claim when they were last proven (docs/metrics.md).

`panobench score` computes these unless it is told which; the parameters of a project may name fewer. A test compares
the list with the committed proof, version by version.
"""

PROVEN = (
    "seam_ratio",
    "seam_ratio_local",
    "seam_percentile",
    "seam_step",
    "seam_ratio_grid",
    "seam_row_percentile",
    "discontinuity_score",
    "discontinuity_ratio",
    "pole_spread",
    "pole_ratio",
    "open_ends",
    "clip_alignment",
    "directional_alignment",
    "content_distribution",
    "is_360",
    "field_of_view",
    "clip_consistency",
    "warping_error",
    "flicker",
    "flicker_compensated",
    "motion_speed",
    "rotation_speed",
    "translation_speed",
    "residual_speed",
    "motion_explained",
    "coherent_motion",
    "motion_distribution",
    "view_blur",
    "view_noise",
    "view_contrast",
    "clip_mmd",
    "ws_psnr",
    "s_psnr",
    "end_point_error",
    "view_lpips_judge",
)
