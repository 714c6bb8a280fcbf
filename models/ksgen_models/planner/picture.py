"""The camera frame made small enough for a language model."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidFrame

_JPEG_QUALITY = 90


def checked_frame(frame: object) -> NDArray[np.uint8]:
    """The frame itself.

    Raises:
        InvalidFrame: it is not a (H, W, 3) uint8 array with at least one pixel.
    """
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.shape[2:] == (3,) and frame.size:
        return frame
    shape = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
    raise InvalidFrame(f"a planner takes a uint8 array of shape (H, W, 3), got {shape}")


def scaled_down(frame: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """Reduce (H, W, 3) uint8 so that the longer side has at most ``longest_side`` pixels; never enlarges."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1.0:
        return frame
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def as_data_url(picture: NDArray[np.uint8]) -> str:
    """(H, W, 3) uint8 as a JPEG in a ``data:`` URL, the form in which OpenAI-compatible servers take pictures."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
