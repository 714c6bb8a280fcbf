"""Text laid over a video: captions, titles, watermarks.

Letters are groups of thin strokes of strong contrast in a line (top-hat and black-hat morphology, then boxes by shape,
as in Lienhart & Wernicke 2002), and what is laid over a video stands still while the scene goes on. A printed label
that moves with its object therefore does not count; one that nobody moves does. Letters without a rim on a ground
nearly as light as they are escape.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.scaling import grey

_WIDTH = 480
_STROKE = 15  # pixels: letters' strokes are thinner
_CONTRAST = 80  # of 255
_JOIN = 13  # pixels: letters of a line stand nearer to each other
_HEIGHTS = (7, 72)  # pixels of a line of text
_STANDS = 2  # frames before and after in which the same strokes are there
_STILL = 0.6  # share of a line's strokes that stand still
_FEWEST_STROKES = 8  # that a row through a line of text crosses
_FILL = (0.12, 0.75)  # share of a line's box that strokes fill


def measure_text(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of each frame of one shot (T, H, W, 3) uint8 under lines of standing text: (T,) float32 in [0, 1]."""
    strokes = [_strokes(grey(frame, _WIDTH)) for frame in frames]
    shares = np.zeros(len(frames), np.float32)
    for at in range(len(frames)):
        near = strokes[max(0, at - _STANDS) : at + _STANDS + 1]
        kinds = zip(strokes[at], zip(*near, strict=True), strict=True)  # light strokes, then dark ones
        shares[at] = max(_lines(now, np.minimum.reduce(around)) for now, around in kinds)
    return shares


def _strokes(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Masks (H, W) of thin light and of thin dark structures."""
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (_STROKE, _STROKE))
    light = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, kernel) >= _CONTRAST
    dark = cv2.morphologyEx(picture, cv2.MORPH_BLACKHAT, kernel) >= _CONTRAST
    return light.astype(np.uint8), dark.astype(np.uint8)


def _lines(strokes: NDArray[np.uint8], standing: NDArray[np.uint8]) -> float:
    """Share of the picture in boxes that look like lines of text and whose strokes stand still."""
    joined = cv2.morphologyEx(standing, cv2.MORPH_CLOSE, np.ones((3, _JOIN), np.uint8))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    area = 0
    for left, top, width, height, _ in boxes[1:]:
        place = np.s_[top : top + height, left : left + width]
        fill = standing[place].mean()
        wide = _HEIGHTS[0] <= height <= _HEIGHTS[1] and width >= 2 * height
        if wide and _FILL[0] <= fill <= _FILL[1] and fill >= _STILL * strokes[place].mean():
            area += int(width * height) * (_crossings(standing[place]) >= _FEWEST_STROKES)
    return area / strokes.size


def _crossings(box: NDArray[np.uint8]) -> float:
    """Times that a row in the middle half of a box goes from paper to stroke, the median row's."""
    quarter = box.shape[0] // 4
    middle = box[quarter : max(quarter + 1, box.shape[0] - quarter)].astype(np.int8)
    return float(np.median((np.diff(middle, axis=1, prepend=0) > 0).sum(axis=1)))
