"""What comes in from the user, checked and brought to one form: the camera frame, the task, the seed.

Frames larger than `WORKING_SIDE` on a side are reduced to it before anything else sees them, so that memory stays
bounded whatever the camera: everything that an `Imagination` holds has the size of its own ``frame``.
"""

from __future__ import annotations

import operator
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidFrame, InvalidInput, InvalidTask

LEAST_SIDE = 32
GREATEST_SIDE = 8192
WORKING_SIDE = 1280
GREATEST_TASK = 1000
GREATEST_CANDIDATES = 64
_PIL_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def check_frame(frame: Any, *, reduce: bool = True) -> NDArray[np.uint8]:
    """Return the frame as a (H, W, 3) uint8 copy, its sides at most `WORKING_SIDE` unless ``reduce`` is off.

    Accepted: a numpy uint8 array (H, W, 3) RGB, (H, W, 4) RGBA (alpha is dropped), (H, W) or (H, W, 1) grayscale; or a
    Pillow image of 8 bits a channel.

    Raises:
        InvalidFrame: anything else, a side below 32 or above 8192 pixels, or a shape so long and thin that its short
            side falls below 32 pixels at the working size.
    """
    if hasattr(frame, "getbands") and hasattr(frame, "convert"):
        frame = _from_pillow(frame)
    if isinstance(frame, str | Path):
        raise InvalidFrame(f"the frame is the path {str(frame)!r}; read it with ksgen_agent.read_frame(path) first")
    if not isinstance(frame, np.ndarray):
        raise InvalidFrame(
            f"the frame is a {type(frame).__module__}.{type(frame).__qualname__}; "
            "pass a numpy array (H, W, 3) of uint8 or a Pillow image"
        )
    _check_shape(frame)
    _check_dtype(frame)
    rgb = _to_rgb(frame)
    return _reduce(rgb) if reduce else rgb


def read_frame(path: str | Path) -> NDArray[np.uint8]:
    """Read a photo from disk (any format that Pillow knows, turned upright by its EXIF tag) as (H, W, 3) uint8.

    Raises:
        InvalidFrame: there is no such file, it is no picture, it is damaged, or `check_frame` refuses it.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            _check_sides(*reversed(image.size))  # before any pixel is decoded
            upright = ImageOps.exif_transpose(image)
            return check_frame(upright)
    except InvalidFrame as exc:
        raise InvalidFrame(f"{path}: {exc}") from exc
    except FileNotFoundError as exc:
        raise InvalidFrame(f"there is no file {path}") from exc
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise InvalidFrame(f"{path} is not a readable picture ({exc}); give a PNG, JPEG or WebP file") from exc


def check_task(task: Any) -> str:
    """Return the task in Unicode normal form with single spaces.

    Raises:
        InvalidTask: not text, without a letter or digit, longer than 1,000 characters, or not encodable.
    """
    if not isinstance(task, str):
        raise InvalidTask(f"the task is a {type(task).__qualname__}; pass a sentence such as 'assemble the shelf'")
    if len(task) > GREATEST_TASK:
        raise InvalidTask(f"the task has {len(task)} characters, at most {GREATEST_TASK} are taken; shorten it")
    try:
        task.encode()
    except UnicodeEncodeError as exc:
        raise InvalidTask(f"the task {task[:80]!r} holds text that is not valid Unicode; pass clean text") from exc
    printable = "".join(" " if unicodedata.category(char) == "Cc" else char for char in task)
    clean = " ".join(unicodedata.normalize("NFC", printable).split())
    if not any(char.isalnum() for char in clean):
        raise InvalidTask(f"the task {task[:80]!r} has no words; pass a sentence such as 'assemble the shelf'")
    return clean


def check_seed(seed: Any) -> int:
    """Return the seed as an int in [0, 2**63).

    Raises:
        InvalidInput: not a whole number, or outside that range.
    """
    try:
        value = operator.index(seed)
    except TypeError as exc:
        raise InvalidInput(f"the seed is {seed!r}; pass a whole number of at least 0") from exc
    if isinstance(seed, bool | np.bool_) or not 0 <= value < 2**63:
        raise InvalidInput(f"the seed is {seed!r}; pass a whole number in [0, 2**63)")
    return value


def check_candidates(candidates: Any, least_trust: Any) -> tuple[int, float]:
    """Return how many clips of each key step to draw, and how far the best must be to be trusted.

    Raises:
        InvalidInput: ``candidates`` is no whole number in [1, 64], or ``least_trust`` none in [0, 1].
    """
    if (
        isinstance(candidates, bool)
        or not isinstance(candidates, int | np.integer)
        or not 1 <= candidates <= GREATEST_CANDIDATES
    ):
        raise InvalidInput(f"candidates is {candidates!r}; pass a whole number from 1 to {GREATEST_CANDIDATES}")
    if isinstance(least_trust, bool) or not isinstance(least_trust, int | float) or not 0 <= least_trust <= 1:
        raise InvalidInput(f"least_trust is {least_trust!r}; pass a number from 0 to 1")
    return int(candidates), float(least_trust)


def _from_pillow(image: Any) -> NDArray[np.uint8]:
    if image.mode not in _PIL_MODES:
        raise InvalidFrame(f"the picture has Pillow mode {image.mode!r}; convert it to 8-bit 'RGB' first")
    _check_sides(image.height, image.width)
    try:
        return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as exc:
        raise InvalidFrame(f"the picture cannot be decoded ({exc}); it may be damaged or cut short") from exc


def _check_shape(frame: NDArray[Any]) -> None:
    shape = frame.shape
    if frame.size == 0:
        raise InvalidFrame(f"the frame is empty (shape {shape}); pass a picture of at least 32 × 32 pixels")
    if frame.ndim == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        raise InvalidFrame(f"the frame has shape {shape}, channels first; pass (H, W, 3): frame.transpose(1, 2, 0)")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and shape[2] not in (1, 3, 4)):
        raise InvalidFrame(f"the frame has shape {shape}; pass (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grayscale")
    _check_sides(shape[0], shape[1])


def _check_sides(height: int, width: int) -> None:
    if min(height, width) < LEAST_SIDE:
        raise InvalidFrame(f"the frame is {width} × {height} pixels; both sides must be at least {LEAST_SIDE}")
    if max(height, width) > GREATEST_SIDE:
        raise InvalidFrame(f"the frame is {width} × {height} pixels; both sides must be at most {GREATEST_SIDE}")
    if min(height, width) * min(1.0, WORKING_SIDE / max(height, width)) < LEAST_SIDE:
        raise InvalidFrame(f"the frame is {width} × {height} pixels, too long and thin; crop it to what the task needs")


def _check_dtype(frame: NDArray[Any]) -> None:
    if frame.dtype == np.uint8:
        return
    if np.issubdtype(frame.dtype, np.floating):
        wrong = int(frame.size - np.count_nonzero(np.isfinite(frame)))
        if wrong:
            raise InvalidFrame(f"the frame is {frame.dtype} with {wrong} values that are NaN or infinite; pass uint8")
        raise InvalidFrame(
            f"the frame is {frame.dtype} with values in [{frame.min():.3g}, {frame.max():.3g}]; whether 1 means white "
            "cannot be known, pass uint8 in [0, 255]: (frame * 255).round().astype(np.uint8) if it does"
        )
    raise InvalidFrame(f"the frame has dtype {frame.dtype}; pass uint8 in [0, 255]")


def _to_rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if frame.ndim == 2:
        frame = frame[..., None]
    rgb = np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame[..., :3]
    # A copy: cameras reuse their buffers while the imagination is under way.
    return np.array(rgb, np.uint8, order="C")


def _reduce(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if max(height, width) <= WORKING_SIDE:
        return frame
    from PIL import Image

    scale = WORKING_SIDE / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.array(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
