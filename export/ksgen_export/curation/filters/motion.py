"""Stillness by optical flow (Farnebäck 2003), shake by phase correlation (Kuglin & Hines 1975), both OpenCV's.

The camera's velocity is the shift that aligns the edges of two frames best. Edges of the background line up sharply and
win over a hand, which changes its shape; a pan is smooth and passes; shake is the camera's velocity changing from frame
to frame. The median over about a second lets a single jump of the estimate pass.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.scaling import grey

_WIDTH = 160
_WINDOW = 9  # frames that shake is taken over


@dataclass(frozen=True)
class Motion:
    """Motion of a shot.

    Attributes:
        amount: (T,) float32, 99th percentile of the optical flow from the frame before, in image widths.
        shake: (T,) float32, change of the camera's velocity from frame to frame, median over nine frames, in image
            widths a frame.
    """

    amount: NDArray[np.float32]
    shake: NDArray[np.float32]


def measure_motion(frames: NDArray[np.uint8]) -> Motion:
    """Measure the frames (T, H, W, 3) uint8 of one shot; the first frame takes the figures of the second."""
    if len(frames) < 2:
        return Motion(np.zeros(len(frames), np.float32), np.zeros(len(frames), np.float32))
    pictures = [grey(frame, _WIDTH) for frame in frames]
    width = pictures[0].shape[1]
    amounts = [_amount(before, after) for before, after in itertools.pairwise(pictures)]
    edges = [_edges(picture) for picture in pictures]
    velocities = np.array([camera_velocity(before, after) for before, after in itertools.pairwise(edges)])
    changes = np.hypot(*np.diff(velocities, axis=0).T) / width
    return Motion(np.array([amounts[0], *amounts], np.float32) / width, _median_around(changes, len(frames)))


def camera_velocity(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float]:
    """The shift (x, y) in pixels that aligns two pictures (H, W) best."""
    window = cv2.createHanningWindow((before.shape[1], before.shape[0]), cv2.CV_32F)
    (across, down), _ = cv2.phaseCorrelate(before, after, window)
    return float(across), float(down)


def _amount(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    if np.array_equal(before, after):
        return 0.0
    flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 4, 15, 3, 7, 1.5, 0)  # type: ignore[call-overload]
    return float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99))


def _edges(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Root of the gradient's length, so that faint edges of a background count beside strong ones of a hand."""
    across, down = (cv2.Sobel(picture, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    return np.sqrt(np.hypot(across, down)).astype(np.float32)


def _median_around(changes: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """T - 2 changes, each around its frame, to (T,) medians over a window."""
    if not len(changes):
        return np.zeros(count, np.float32)
    half = _WINDOW // 2
    medians = [float(np.median(changes[max(0, at - half) : at + half + 1])) for at in range(len(changes))]
    return np.pad(np.array(medians, np.float32), 1, mode="edge")
