"""A hand track as the clip model is told it: drawn, so that what is told of a place lies in that place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.types import LEFT

HAND_CHANNELS = 4
"""Palm (half as bright of a left hand), thumb, index and middle finger, ring and little finger."""
_PALM = (0, 1, 5, 9, 13, 17)
_FINGERS = (((1, 2, 3, 4),), ((5, 6, 7, 8), (9, 10, 11, 12)), ((13, 14, 15, 16), (17, 18, 19, 20)))
_FINER = 4
_THICKNESS = 1 / 42  # of the picture's side
_SHIFT = 4  # fractional bits of OpenCV's coordinates


def hand_pictures(keypoints: NDArray[np.floating], side: int) -> NDArray[np.uint8]:
    """Draw a hand track, frame by frame.

    Args:
        keypoints: (T, 2, 21, 2 or more), x and y normalised to the square picture, NaN where a hand is absent.
        side: of the pictures, in pixels.

    Returns:
        (T, `HAND_CHANNELS`, side, side) uint8.
    """
    import cv2

    fine = side * _FINER
    drawn = np.zeros((len(keypoints), HAND_CHANNELS, side, side), np.uint8)
    for frame, hands in zip(drawn, keypoints, strict=True):
        for slot, hand in enumerate(hands):
            if not np.isfinite(hand[:, :2]).all():
                continue
            points = np.round((hand[:, :2].clip(-1, 2) * fine - 0.5) * (1 << _SHIFT)).astype(np.int32)
            layers = np.zeros((HAND_CHANNELS, fine, fine), np.uint8)
            palm = 127 if slot == LEFT else 255
            cv2.fillConvexPoly(layers[0], cv2.convexHull(points[list(_PALM)]), palm, cv2.LINE_8, _SHIFT)
            for layer, fingers in zip(layers[1:], _FINGERS, strict=True):
                lines = [points[list(finger)] for finger in fingers]
                cv2.polylines(layer, lines, False, 255, max(1, round(fine * _THICKNESS)), cv2.LINE_8, _SHIFT)
            for shown, layer in zip(frame, layers, strict=True):
                np.maximum(shown, cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA), out=shown)
    return drawn
