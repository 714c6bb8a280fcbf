"""Draws the hand skeleton on pictures: a colour for each finger, lines and joints with soft edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.types import HAND_BONES, HandTrack

# RGB of the palm and of the thumb, index, middle, ring and little finger.
FINGER_COLOURS: tuple[tuple[int, int, int], ...] = (
    (235, 235, 240),
    (255, 92, 92),
    (255, 186, 54),
    (92, 214, 110),
    (64, 178, 255),
    (190, 120, 255),
)
_OUTLINE = (20, 20, 28)
_PALM_BONES = {(0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17)}
_SHIFT = 4  # OpenCV draws at 1/16 pixel
_FARTHEST = 4.0


def draw_hands(
    image: NDArray[np.uint8], keypoints: NDArray[np.floating], thickness: float | None = None
) -> NDArray[np.uint8]:
    """Draw hands on a copy of a picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        keypoints: (..., 21, 2 or more), x and y normalised; hands with a coordinate that is not finite are left out.
        thickness: of the bones in pixels; None fits the size of the picture.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    bone = thickness if thickness is not None else max(1.0, min(height, width) / 140)
    line, rim = max(1, round(bone)), max(2, round(bone * 2))
    for hand in np.asarray(keypoints, np.float64).reshape(-1, *np.shape(keypoints)[-2:]):
        if not np.isfinite(hand[:, :2]).all():
            continue
        places = np.clip(hand[:, :2], -_FARTHEST, 1 + _FARTHEST) * (width, height) * (1 << _SHIFT)
        points = [(int(x), int(y)) for x, y in places.round()]
        for a, b in HAND_BONES:
            cv2.line(canvas, points[a], points[b], _OUTLINE, rim + line, cv2.LINE_AA, _SHIFT)
        for a, b in HAND_BONES:
            colour = FINGER_COLOURS[0 if (a, b) in _PALM_BONES else _finger(b)]
            cv2.line(canvas, points[a], points[b], colour, rim, cv2.LINE_AA, _SHIFT)
        radius = round(bone * 1.5 * (1 << _SHIFT))
        for index, point in enumerate(points):
            cv2.circle(canvas, point, radius, _OUTLINE, -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, point, round(radius * 0.72), FINGER_COLOURS[_finger(index)], -1, cv2.LINE_AA, _SHIFT)
    return canvas


def draw_track(clip: NDArray[np.uint8], track: HandTrack) -> NDArray[np.uint8]:
    """Draw a track on a copy of its clip (T, H, W, 3)."""
    return np.stack([draw_hands(frame, hands) for frame, hands in zip(clip, track.keypoints, strict=True)])


def _finger(keypoint: int) -> int:
    """0 for the wrist, 1 to 5 from thumb to little finger."""
    return 0 if keypoint == 0 else (keypoint - 1) // 4 + 1
