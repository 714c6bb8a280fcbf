"""Where the picture changes between the beginning and the end of a step: what left its place, and where it went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_LEAST_DIFFERENCE, _FAINT = 18, 8  # of 255: in itself, and beside what changes clearly
_LEAST_AREA = 1.2e-4  # of the picture
_AROUND = 0.02  # of the picture: how wide the surroundings of a region are
_SHADOW = (0.40, 0.97)  # what a shadow leaves of the light
_SHADOW_TINT = 0.10  # by which a shadow's channels may differ


@dataclass(frozen=True)
class Region:
    """A connected part of the picture that changes.

    Attributes:
        mask: (H, W) bool, changed for certain.
        doubtful: (H, W) bool, changed in the way that a shadow changes a picture: the thing's or its shadow's. Of the
            whole picture, not of this region alone.
        centre: (2,) normalised.
        area: share of the picture.
    """

    mask: Mask
    doubtful: Mask
    centre: NDArray[np.float64]
    area: float


def vacated(before: Picture, after: Picture, *, count_doubtful: bool = False) -> list[Region]:
    """Where something was that is gone, in two pictures (H, W, 3) without hands; the largest region first.

    Args:
        before, after: the pictures.
        count_doubtful: take what may be shadows for certain: grey things on a grey table look no different.
    """
    difference = np.abs(_calmed(before) - _calmed(after)).max(axis=-1)
    shadow = _shadow(before, after)
    counts = np.ones_like(shadow) if count_doubtful else ~shadow
    clear, faint = (counts & (difference > level) for level in (_LEAST_DIFFERENCE, _FAINT))
    return _regions(_touching(faint, clear), shadow & (difference > _LEAST_DIFFERENCE))


def filled(before: Picture, after: Picture, *, count_doubtful: bool = False) -> list[Region]:
    """Where something is that was not; as `vacated`."""
    return vacated(after, before, count_doubtful=count_doubtful)


def stands_out(picture: Picture, region: Region) -> float:
    """How far the colours in a region differ from those around it in a picture (H, W, 3), in [0, 1]."""
    import cv2

    inside = region.mask.astype(np.uint8)
    radius = max(2, round(_AROUND * len(inside)))
    around = cv2.dilate(inside, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > inside
    if not around.any():
        return 0.0
    return float(np.abs(np.median(picture[region.mask], axis=0) - np.median(picture[around], axis=0)).max()) / 255


def _shadow(dark: Picture, light: Picture) -> Mask:
    # A shadow takes about the same share of every channel.
    share = (_calmed(dark) + 4.0) / (_calmed(light) + 4.0)
    middle = share.mean(axis=-1)
    return (np.ptp(share, axis=-1) < _SHADOW_TINT) & (middle > _SHADOW[0]) & (middle < _SHADOW[1])


def _touching(faint: Mask, clear: Mask) -> Mask:
    # The parts of a mask that hold something of another one.
    import cv2

    _, labels = cv2.connectedComponents(faint.astype(np.uint8), connectivity=8)
    return faint & np.isin(labels, np.unique(labels[clear & faint]))


def _calmed(picture: Picture) -> NDArray[np.float32]:
    import cv2

    return cv2.GaussianBlur(picture, (3, 3), 0.5).astype(np.float32)


def _regions(mask: Mask, doubtful: Mask) -> list[Region]:
    # Connected regions without specks and with small gaps closed, the largest first.
    import cv2

    height, width = mask.shape
    radius = max(1, round(width / 256))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    # An opening whose kernel has no middle: with the same anchor twice OpenCV would move all by a pixel.
    square = np.ones((2, 2), np.uint8)
    cleaned = cv2.dilate(cv2.erode(cleaned, square, anchor=(1, 1)), square, anchor=(0, 0))
    count, labels, statistics, centres = cv2.connectedComponentsWithStats(cleaned, connectivity=8)
    found = []
    for label in range(1, count):
        area = statistics[label, cv2.CC_STAT_AREA] / (height * width)
        if area >= _LEAST_AREA:
            # The middle of pixel 0 is at 0.5.
            centre = (np.asarray(centres[label]) + 0.5) / (width, height)
            found.append(Region(np.asarray(labels == label), doubtful, centre, float(area)))
    return sorted(found, key=lambda region: -region.area)


def split_between(region: Region, first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[Region, Region]:
    """Cut one region into the part nearer to ``first`` and the part nearer to ``second``, (2,) normalised each."""
    height, width = region.mask.shape
    rows, columns = np.indices(region.mask.shape)
    places = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=-1)
    nearer = np.linalg.norm(places - first, axis=-1) < np.linalg.norm(places - second, axis=-1)
    parts = [region.mask & nearer, region.mask & ~nearer]
    return tuple(  # type: ignore[return-value]
        Region(part, region.doubtful, places[part].mean(axis=0) if part.any() else region.centre, float(part.mean()))
        for part in parts
    )
