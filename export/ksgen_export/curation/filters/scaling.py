"""Small grey pictures, the common food of the filters: figures must not depend on a video's resolution."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def grey(frame: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """A frame (H, W, 3) in grey, (h, width), averaged down; a smaller one is only made grey."""
    return np.asarray(cv2.cvtColor(narrowed(frame, width), cv2.COLOR_RGB2GRAY), np.uint8)


def narrowed(frame: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """A frame (H, W, 3) averaged down to a width in pixels; a smaller one comes back as it is."""
    if frame.shape[1] <= width:
        return frame
    height = max(8, round(frame.shape[0] * width / frame.shape[1]))
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
