"""Between the camera's frame and the size and length that a family of models draws: explicit, and back again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FITS = ("letterbox", "crop")


@dataclass(frozen=True)
class Fit:
    """How a frame lies in a model's picture.

    Attributes:
        frame: (H, W) of the camera's frame.
        picture: (h, w) of the model's picture.
        mode: ``"letterbox"``, all of the frame, its edge pixels repeated beside it; ``"crop"``, the middle of the frame
            fills the picture.
    """

    frame: tuple[int, int]
    picture: tuple[int, int]
    mode: str = "letterbox"

    @property
    def _scaled(self) -> tuple[int, int]:
        """(h, w) of the whole frame in the model's pixels."""
        ratios = [small / large for small, large in zip(self.picture, self.frame, strict=True)]
        scale = min(ratios) if self.mode == "letterbox" else max(ratios)
        height, width = (max(round(side * scale), 1) for side in self.frame)
        return height, width

    @property
    def _offset(self) -> tuple[int, int]:
        """(top, left) of the frame in the picture; negative where it is cropped."""
        (height, width), (h, w) = self._scaled, self.picture
        return (h - height) // 2, (w - width) // 2

    def to_picture(self, image: NDArray[Any]) -> NDArray[Any]:
        """(H, W) or (H, W, 3) of any dtype → (h, w) or (h, w, 3) of the same dtype."""
        import cv2

        height, width = self._scaled
        shrinks = height * width < self.frame[0] * self.frame[1]
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        (top, left), (h, w) = self._offset, self.picture
        if self.mode == "crop":
            return np.ascontiguousarray(scaled[-top : -top + h, -left : -left + w])
        padding = ((top, h - height - top), (left, w - width - left), *((0, 0),) * (image.ndim - 2))
        return np.pad(scaled, padding, mode="edge")

    def mask_to_picture(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W) bool → (h, w) bool; a pixel that holds any of the mask belongs to it."""
        return self.to_picture(mask.astype(np.float32)) > 1e-3

    def from_picture(self, frames: NDArray[np.uint8], behind: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, h, w, 3) uint8 → (T, H, W, 3) uint8; what was cropped away is that of ``behind`` (H, W, 3)."""
        import cv2

        (top, left), (height, width), (h, w) = self._offset, self._scaled, self.picture
        clip = np.repeat(behind[None], len(frames), axis=0)
        for frame, drawn in zip(clip, frames, strict=True):
            if self.mode == "letterbox":
                whole = drawn[top : top + height, left : left + width]
            else:
                whole = cv2.resize(behind, (width, height), interpolation=cv2.INTER_AREA)
                whole[-top : -top + h, -left : -left + w] = drawn
            grows = height * width < frame.shape[0] * frame.shape[1]
            interpolation = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
            frame[:] = cv2.resize(np.ascontiguousarray(whole), frame.shape[1::-1], interpolation=interpolation)
        clip[:, ~self.covered()] = behind[~self.covered()]
        return clip

    def covered(self) -> NDArray[np.bool_]:
        """(H, W) bool: the part of the frame that the model sees."""
        seen = np.ones(self.frame, bool)
        if self.mode == "crop":
            (top, left), (height, width), (h, w) = self._offset, self._scaled, self.picture
            rows = (np.arange(self.frame[0]) + 0.5) * height / self.frame[0] + top
            columns = (np.arange(self.frame[1]) + 0.5) * width / self.frame[1] + left
            seen = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None]
        return seen


def picture_size(frame: tuple[int, int], trained: tuple[int, int], multiple: int, *, fixed: bool) -> tuple[int, int]:
    """The (h, w) to draw a frame (H, W) at.

    Args:
        frame: (H, W).
        trained: (h, w) that the model was trained on.
        multiple: both sides are multiples of it.
        fixed: the model knows ``trained`` only; else the frame's own shape with about as many pixels.
    """
    if fixed:
        return trained
    pixels = trained[0] * trained[1]
    shape = frame[0] / frame[1]
    height = max(round(math.sqrt(pixels * shape) / multiple), 1)
    width = max(round(math.sqrt(pixels / shape) / multiple), 1)
    return height * multiple, width * multiple


def resample(frames: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Take ``number`` frames of (T, ...), evenly from the first to the last; a short clip repeats some."""
    return frames[np.round(np.linspace(0, len(frames) - 1, number)).astype(int)]
