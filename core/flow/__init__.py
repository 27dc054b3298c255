"""Optical flow on the sphere: estimation that knows no seam and no pole, warping, and storage as pictures.

A flow field is ``(T, 2, H, W)`` float32 in ERP pixels, from frame t to frame t + 1: u to the right (growing
longitude), v down (growing row). A vector may lead over the seam or over a pole; everything here follows it there.
Lengths in pixels say little near the poles: ``spherical_displacement`` gives degrees.
"""

from core.flow.estimate import BACKENDS, Estimator, dis_estimator, estimate_flow, make_estimator
from core.flow.maps import (
    ENCODINGS,
    condition_maps,
    decode_flow,
    encode_flow,
    flow_condition,
    mirror_maps,
)
from core.flow.sphere import (
    directions_to_flow,
    flow_to_directions,
    forward_backward_mask,
    spherical_displacement,
    warp_erp,
)

__all__ = [
    "BACKENDS",
    "ENCODINGS",
    "Estimator",
    "condition_maps",
    "decode_flow",
    "directions_to_flow",
    "dis_estimator",
    "encode_flow",
    "estimate_flow",
    "flow_condition",
    "flow_to_directions",
    "forward_backward_mask",
    "make_estimator",
    "mirror_maps",
    "spherical_displacement",
    "warp_erp",
]
