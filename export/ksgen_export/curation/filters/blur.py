"""Blur, by how little a picture changes when it is blurred again (Crété-Roffet et al. 2007, scikit-image)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.measure import blur_effect

from ksgen_export.curation.filters.scaling import grey

_WIDTH = 320


def measure_blur(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blur of each of the frames (T, H, W, 3) uint8: (T,) float32 in [0, 1], 0 sharp, 1 nothing but blur."""
    return np.array([blur_effect(grey(frame, _WIDTH)) for frame in frames], np.float32).clip(0, 1)
