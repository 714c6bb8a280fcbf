"""An imagination at one glance: a row a key step, as one picture for a README, a paper or a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_agent.report.pictures import hands_drawn, region_drawn, scaled

if TYPE_CHECKING:
    from ksgen_agent.imagination import Imagination
    from ksgen_models.types import KeyStep

_GAP = 6
_BAND = 30
_PAPER = 255
_INK = (30, 30, 30)


def overview(imagination: Imagination, *, frames: int = 5, side: int = 192) -> NDArray[np.uint8]:
    """Key-step image, regions, and ``frames`` frames of the clip with the hands drawn, a row a step.

    Args:
        imagination: what to show.
        frames: of each clip, spread evenly after the first.
        side: long side of each picture, pixels.

    Returns:
        (H, W, 3) uint8.
    """
    return np.concatenate([_row(step, frames, side) for step in imagination.steps])


def _row(step: KeyStep, frames: int, side: int) -> NDArray[np.uint8]:
    drawn = hands_drawn(step)
    times = np.linspace(0, len(drawn) - 1, frames + 1).round().astype(int)[1:]
    pictures = [scaled(step.image, 384), region_drawn(step), *(drawn[time] for time in times)]
    small = [_resized(picture, side) for picture in pictures]
    gap = np.full((small[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    row = np.concatenate([part for picture in small for part in (picture, gap)][:-1], axis=1)
    band = np.full((_BAND, row.shape[1], 3), _PAPER, np.uint8)
    # OpenCV's built-in letters know ASCII only.
    text = f"{step.index + 1}. {step.description}".encode("ascii", "replace").decode()
    cv2.putText(band, text, (2, _BAND - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
    return np.concatenate([band, row])


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
