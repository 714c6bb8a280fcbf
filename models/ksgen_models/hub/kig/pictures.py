"""Sizes and pixels between the camera's frame and a pipeline's picture; every resizing is said here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidFrame, PresetError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


def checked_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame, if it is one.

    Raises:
        InvalidFrame: it is not RGB uint8 (H, W, 3).
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise InvalidFrame(f"a frame is RGB uint8 (H, W, 3), got {found}")
    if 0 in frame.shape:
        raise InvalidFrame(f"the frame is empty: {frame.shape}")
    return frame


def drawn_size(height: int, width: int, area: int, multiple: int) -> tuple[int, int]:
    """Height and width that a pipeline draws at: about ``area`` pixels in the frame's ratio.

    Args:
        height, width: of the frame.
        area: pixels aimed at.
        multiple: both sides are multiples of it, and at least it.
    """
    scale = math.sqrt(area / (height * width))
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))  # type: ignore[return-value]


def resized(picture: NDArray[np.uint8], height: int, width: int) -> Image:
    """(H, W, 3) uint8 → PIL picture of ``height`` × ``width``, all of it, by Lanczos; the ratio may change a little."""
    from PIL import Image as PillowImage

    image = PillowImage.fromarray(picture)
    if image.size == (width, height):
        return image
    return image.resize((width, height), PillowImage.Resampling.LANCZOS)


def back_to(picture: NDArray[np.float32], frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A drawn picture (h, w, 3) float in [0, 1] at the frame's size: (H, W, 3) uint8.

    Raises:
        PresetError: it holds what is no number, as half precision may make.
    """
    if not np.isfinite(picture).all():
        raise PresetError(
            "the pipeline drew a picture of NaN: its networks overflow at this precision, or the checkpoint is "
            'damaged; take dtype="bfloat16" or "float32"'
        )
    pixels = (picture * 255).round().clip(0, 255).astype(np.uint8)
    return np.asarray(resized(pixels, frame.shape[0], frame.shape[1]))


def generator_of(seed: int, *uses: int) -> torch.Generator:
    """Random numbers that depend on nothing but the seed and what they are used for; the same on every device."""
    import torch

    state = np.random.SeedSequence((seed & 0xFFFFFFFFFFFFFFFF, *uses)).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))
