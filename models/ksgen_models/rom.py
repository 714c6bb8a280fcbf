"""The region of motion (RoM): where in a clip the hands are, as masks.

Source: IVG, "Instructional Video Generation", §3.1.1: the convex hull of each frame's hand keypoints is filled, the
hulls are united over time, and small isolated regions are removed by connected components and morphology.
Everything here is NumPy and OpenCV; `cv2` is loaded when a function first needs it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput
from ksgen_models.types import HandTrack

Mask = NDArray[np.bool_]

# Beyond this many image sizes outside the picture a coordinate is cut off: OpenCV fills polygons in 16.16 fixed point.
_FARTHEST = 8.0
_FEWEST_POINTS = 3


def observed_region(track: HandTrack, height: int, width: int) -> tuple[Mask, Mask]:
    """The region of motion of a clip from its hand track (IVG §3.1.1).

    Args:
        track: both hands through the clip; slots that are not ``valid`` and keypoints that are NaN are left out.
        height, width: of the masks, in pixels.

    Returns:
        ``per_frame`` (T, H, W) bool, the filled hulls of each frame's hands, one hull a hand; ``union`` (H, W) bool.

    Raises:
        InvalidInput: a size below one pixel.
    """
    return region_of_keypoints(np.where(track.valid[..., None, None], track.keypoints, np.nan), height, width)


def region_of_keypoints(keypoints: NDArray[np.floating], height: int, width: int) -> tuple[Mask, Mask]:
    """The same from keypoints (T, N, K, 2 or more), x and y normalised to [0, 1], NaN where absent."""
    if height < 1 or width < 1:
        raise InvalidInput(f"a mask has at least one pixel, not {height}×{width}")
    per_frame = np.zeros((len(keypoints), height, width), bool)
    for frame, hands in zip(per_frame, keypoints, strict=True):
        for hand in hands:
            frame |= hull_mask(hand, height, width)
    return per_frame, np.asarray(per_frame.any(axis=0))


def hull_mask(points: NDArray[np.floating], height: int, width: int) -> Mask:
    """Fill the convex hull of points (K, 2 or more), x and y normalised; points that are not finite are left out.

    Returns:
        (H, W) bool; every pixel that holds a point inside the picture is True. All False with fewer than three points.
    """
    import cv2

    mask = np.zeros((height, width), np.uint8)
    seen = points[np.isfinite(points[:, :2]).all(axis=1), :2]
    if len(seen) < _FEWEST_POINTS:
        return mask.astype(bool)
    corners = np.clip(seen, -_FARTHEST, 1 + _FARTHEST) * (width, height)
    pixels = np.floor(np.where(seen == 1, corners - 0.5, corners)).astype(np.int32)  # 1.0 is the last pixel's far edge
    cv2.fillConvexPoly(mask, cv2.convexHull(pixels), 1)
    # Filling leaves out hulls without area in some versions of OpenCV; the points themselves always belong.
    inside = pixels[((pixels >= 0) & (pixels < (width, height))).all(axis=1)]
    mask[inside[:, 1], inside[:, 0]] = 1
    return mask.astype(bool)


def clean_mask(mask: NDArray[np.bool_] | NDArray[np.uint8], min_area: int, radius: int) -> Mask:
    """Close gaps, smooth the edge, and drop small isolated regions (IVG §3.1.1, post-processing).

    Args:
        mask: (H, W) bool.
        min_area: connected regions (8 neighbours) of fewer pixels are dropped.
        radius: of the disc that the mask is closed and then opened with, in pixels; 0 leaves its shape alone.

    Returns:
        (H, W) bool.
    """
    import cv2

    cleaned = np.ascontiguousarray(mask, bool).astype(np.uint8)
    if radius > 0:
        disc = _disc(radius)
        # A border of zeros: without it closing would pull regions to the picture's edge.
        padded = np.pad(cleaned, 2 * radius)
        padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
        padded = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)
        cleaned = np.ascontiguousarray(padded[2 * radius : -2 * radius, 2 * radius : -2 * radius])
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(cleaned, connectivity=8)
    large = statistics[:, cv2.CC_STAT_AREA] >= min_area
    large[0] = False  # label 0 is what lies outside
    return np.asarray(large)[np.asarray(labels, np.intp)]


def dilate_mask(mask: NDArray[np.bool_] | NDArray[np.uint8], radius: int) -> Mask:
    """Grow a mask (H, W) by a disc of ``radius`` pixels; 0 returns a copy."""
    import cv2

    if radius <= 0:
        return np.array(mask, bool)
    return cv2.dilate(np.ascontiguousarray(mask, bool).astype(np.uint8), _disc(radius)).astype(bool)


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape, in [0, 1]; two empty masks agree: 1.

    Raises:
        InvalidInput: the shapes differ.
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape:
        raise InvalidInput(f"masks of different shapes cannot be compared: {a.shape} and {b.shape}")
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def _disc(radius: int) -> NDArray[np.uint8]:
    reach = np.arange(-radius, radius + 1)
    return (reach[:, None] ** 2 + reach[None] ** 2 <= (radius + 0.5) ** 2).astype(np.uint8)
