"""The pictures of the report, each as a ``data:`` address that needs nothing from outside the page."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ksgen_models.types import KeyStep

DRAWING_SIDE = 384  # lines are drawn on pictures of at least this size, so that they stay thin and smooth
GREATEST_SIDE = 640  # more would only make the page heavy
_QUALITY = 85

# Heat from nothing to full: transparent violet, magenta, orange, pale yellow. Legible for all common colour visions.
_HEAT_STOPS = np.array([[68, 12, 110], [190, 40, 110], [245, 125, 30], [252, 235, 140]], np.float32)
OBSERVED_COLOUR = (80, 235, 255)
CHANGE_COLOUR = (255, 255, 255)
_SHADE = (20, 20, 20)  # under every line, so that it shows on light and on dark


def still(image: NDArray[np.uint8]) -> str:
    """A (H, W, 3) uint8 picture as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(scaled(image, 1)).save(buffer, "WEBP", quality=90, method=4)
    return _address(buffer)


def animation(clip: NDArray[np.uint8], fps: float, *, hold: float = 0.7, quality: int = _QUALITY) -> str:
    """A (T, H, W, 3) uint8 clip as animated WebP that loops and rests ``hold`` seconds on its last frame."""
    frames = [Image.fromarray(scaled(frame, 1)) for frame in clip]
    duration = round(1000 / fps)
    durations = [duration] * (len(frames) - 1) + [duration + round(1000 * hold)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=durations if len(frames) > 1 else duration,
        loop=0,
        quality=quality,
        method=2,
    )
    return _address(buffer)


def hands_drawn(step: KeyStep) -> NDArray[np.uint8]:
    """The clip (T, h, w, 3), enlarged, with the hand skeletons on it."""
    from ksgen_models.hands.drawing import draw_hands

    pairs = zip(step.clip, step.hands.keypoints, strict=True)
    return np.stack([draw_hands(scaled(frame, DRAWING_SIDE), keypoints) for frame, keypoints in pairs])


def region_drawn(step: KeyStep) -> NDArray[np.uint8]:
    """The key-step image (h, w, 3), enlarged, under the predicted RoM as heat, with the outline of the observed RoM
    and, dashed, of the predicted region of change."""
    region = step.region_of_motion
    picture = scaled(step.image, DRAWING_SIDE)
    size = (picture.shape[1], picture.shape[0])
    resized = cv2.resize(region.predicted.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    heat = np.asarray(resized, np.float32).clip(0, 1)
    grey = picture.mean(axis=-1, keepdims=True) * 0.6 + picture * 0.4  # calm the picture so that the heat shows
    weight = (0.75 * np.sqrt(heat))[..., None]
    drawn = np.ascontiguousarray((grey * (1 - weight) + heat_colours(heat) * weight).round().astype(np.uint8))
    thickness = max(2, round(min(size) / 190))
    for line in _outlines(region.change >= 0.5, size):
        _draw_dashed(drawn, line, CHANGE_COLOUR, thickness)
    observed = _outlines(region.observed, size)
    cv2.drawContours(drawn, observed, -1, _SHADE, thickness + 2, cv2.LINE_AA)
    cv2.drawContours(drawn, observed, -1, OBSERVED_COLOUR, thickness, cv2.LINE_AA)
    return drawn


def heat_colours(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """RGB (…, 3) in [0, 255] of heat in [0, 1]."""
    stops = np.linspace(0, 1, len(_HEAT_STOPS))
    return np.stack([np.interp(heat, stops, _HEAT_STOPS[:, channel]) for channel in range(3)], -1).astype(np.float32)


def scaled(image: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """The picture with its long side at least ``least`` and at most `GREATEST_SIDE` pixels."""
    side = max(image.shape[:2])
    wanted = min(max(side, least), GREATEST_SIDE)
    if wanted == side:
        return image
    size = (max(1, round(image.shape[1] * wanted / side)), max(1, round(image.shape[0] * wanted / side)))
    method = cv2.INTER_AREA if wanted < side else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False)


def _outlines(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[NDArray[np.int32]]:
    smooth = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5
    found, _ = cv2.findContours(smooth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.asarray(line, np.int32) for line in found]


def _draw_dashed(picture: NDArray[np.uint8], line: NDArray[np.int32], colour: tuple[int, ...], thickness: int) -> None:
    dash = 5 * thickness
    closed = np.concatenate([line, line[:1]])
    for start in range(0, len(line), 2 * dash):
        piece = closed[start : start + dash + 1]
        cv2.polylines(picture, [piece], False, _SHADE, thickness + 2, cv2.LINE_AA)
        cv2.polylines(picture, [piece], False, colour, thickness, cv2.LINE_AA)


def _address(buffer: io.BytesIO) -> str:
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
