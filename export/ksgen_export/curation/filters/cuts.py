"""Scene cuts by colour histograms.

Neighbouring frames are compared block by block (4 × 4 blocks, 8 × 4 × 16 bins of hue, saturation and value,
Bhattacharyya distance) and the median over the blocks is taken: a cut changes most of the picture at once, a hand close
to the camera only a part of it.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.scaling import narrowed

_WIDTH = 160
_BLOCKS = 4
_BINS = (8, 4, 16)
_AROUND = 8  # pairs on either side that a distance is held against


def histogram_distances(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance of each frame to the one before it.

    Args:
        frames: (T, H, W, 3) uint8 RGB.

    Returns:
        (T,) float32 in [0, 1]; 0 for the first frame.
    """
    signatures = [_signature(frame) for frame in frames]
    distances = [_distance(before, after) for before, after in itertools.pairwise(signatures)]
    return np.array([0.0, *distances], np.float32)


def find_cuts(distances: NDArray[np.float32], distance: float, contrast: float) -> NDArray[np.bool_]:
    """(T,) bool: True for the first frame of a new scene.

    Args:
        distances: (T,) from `histogram_distances`.
        distance: least distance of a cut.
        contrast: least ratio of a cut's distance to the median of the distances around it.
    """
    cuts = np.zeros(len(distances), bool)
    for at in np.flatnonzero(distances >= distance):
        near = np.arange(max(1, at - _AROUND), min(len(distances), at + _AROUND + 1))
        around = distances[near[near != at]]
        cuts[at] = not len(around) or distances[at] >= contrast * float(np.median(around))
    return cuts


def _signature(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(blocks, bins) square roots of normalised histograms: their inner product is the Bhattacharyya coefficient."""
    colours = cv2.cvtColor(narrowed(frame, _WIDTH), cv2.COLOR_RGB2HSV).astype(np.int32)
    hue, saturation, value = (colours[..., channel] for channel in range(3))
    # The hue of a grey pixel is noise: grey pixels all count as one hue.
    hue = np.where(saturation < 32, 0, hue * _BINS[0] // 180)
    bins = (hue * _BINS[1] + saturation * _BINS[1] // 256) * _BINS[2] + value * _BINS[2] // 256
    histograms = []
    for row in np.array_split(bins, _BLOCKS, axis=0):
        for block in np.array_split(row, _BLOCKS, axis=1):
            counts = np.bincount(block.ravel(), minlength=int(np.prod(_BINS)))
            histograms.append(np.sqrt(counts / block.size))
    return np.array(histograms, np.float32)


def _distance(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    overlap = np.einsum("bi,bi->b", before, after)
    return float(np.median(np.sqrt(np.clip(1 - overlap, 0, 1))))
