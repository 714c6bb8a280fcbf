"""Frames and videos that the tests of curation share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ksgen_models.video_io import write_video


def texture(seed: int, height: int = 256, width: int = 256) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of soft noise of several sizes, with sharp edges in it."""
    random = np.random.default_rng(seed)
    picture = np.full((height, width, 3), random.uniform(60, 190, 3), np.float32)
    for size in (3, 6, 12, 24):
        noise = random.normal(0, 25, (size, size, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return picture.clip(0, 255).astype(np.uint8)


def panned(seed: int, length: int, speed: float = 2.0, height: int = 256, width: int = 256) -> NDArray[np.uint8]:
    """(T, H, W, 3): an even pan over a texture, ``speed`` pixels a frame; never the same place twice."""
    wide = texture(seed, height, width + int(speed * length) + 2)
    views = [np.array([[1, 0, -speed * at], [0, 1, 0]], np.float32) for at in range(length)]
    return np.stack([cv2.warpAffine(wide, view, (width, height)) for view in views])


def write_panned(folder: Path, name: str, seed: int, seconds: float = 4.0, fps: float = 8.0) -> Path:
    """A video of a pan; returns its path."""
    path = folder / f"{name}.mp4"
    write_video(path, panned(seed, round(seconds * fps), 16.0 / fps), fps)
    return path
