"""Figures that compare generated clips with real ones: the metrics of IVG and KS-Gen, and this project's own.

The single figures are plain functions over arrays (`hands`, `pictures`, `motion`, `frechet`); `catalogue` lists every
metric with its source and its stand-in; `networks` loads the feature networks; `evaluation` measures whole folders,
`summary` turns what was measured into a table with confidence intervals, and `report` writes it down.
"""

from ksgen_models.metrics.hands import (
    aligned_keypoint_error,
    detection_rate,
    hand_structure_error,
    keypoint_error,
)
from ksgen_models.metrics.motion import motion_distance
from ksgen_models.metrics.pictures import background_drift, nearest_outcome, outside_psnr

__all__ = [
    "aligned_keypoint_error",
    "background_drift",
    "detection_rate",
    "hand_structure_error",
    "keypoint_error",
    "motion_distance",
    "nearest_outcome",
    "outside_psnr",
]
