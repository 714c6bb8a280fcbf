"""Made-up pictures that are no Workbench scenes: what the scene reader learns to refuse without any photographs.

Dead leaves (overlapping shapes with sizes of a power law) and 1/f noise share the statistics of photographs
(Lee, Mumford & Huang 2001; Baradad et al. 2021); scenes that were mangled keep the Workbench's colours but not its
sense.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def foreign_picture(scene: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of the scene's shape (H, W, 3) uint8 that no Workbench camera would take."""
    kind = random.random()
    if kind < 0.45:
        return dead_leaves(scene.shape[0], scene.shape[1], random)
    if kind < 0.65:
        return coloured_noise(scene.shape[0], scene.shape[1], random)
    if kind < 0.75:
        return _photograph_like(scene, random)
    return mangled(scene, random)


def dead_leaves(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Overlapping ellipses and boxes of all sizes over noise, each flat, shaded or textured."""
    import cv2

    picture = coloured_noise(height, width, random).astype(np.float32)
    grain = random.normal(size=(height, width, 1)).astype(np.float32)
    for _ in range(int(random.integers(5, 80))):
        radius = min(width, 3.0 / random.uniform(0.02, 1.0) ** random.uniform(0.8, 1.4))
        centre = random.uniform(0, [width, height])
        axes = radius * random.uniform(0.3, 1.0, 2)
        mask = np.zeros((height, width), np.uint8)
        angle = random.uniform(0, 180)
        if random.random() < 0.5:
            cv2.ellipse(mask, (tuple(centre), tuple(2 * axes), angle), 1, -1)
        else:
            corners = cv2.boxPoints((tuple(centre), tuple(2 * axes), angle))
            cv2.fillConvexPoly(mask, corners.astype(np.int32), 1)
        colour = random.uniform(0, 255, 3) * random.uniform(0.3, 1.0)
        slope = random.normal(0, 0.5, 2)
        shade = slope[0] * (np.arange(width) - centre[0]) + slope[1] * (np.arange(height) - centre[1])[:, None]
        inside = mask > 0
        picture[inside] = colour + shade[inside][:, None] + random.uniform(0, 15) * grain[inside]
    blurred = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 1.5))
    return blurred.clip(0, 255).astype(np.uint8)


def coloured_noise(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Noise with a spectrum of 1/f^a, a between 0 (white) and 2.5 (clouds), in random colours."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(random.normal(size=(3, height, width))) / frequency ** random.uniform(0, 2.5)
    noise = np.fft.irfft2(spectrum, s=(height, width)).transpose(1, 2, 0)
    noise = (noise - noise.mean((0, 1))) / (noise.std() + 1e-9)
    mixed = noise @ random.normal(0, 1, (3, 3)) * random.uniform(5, 70) + random.uniform(0, 255, 3)
    return mixed.clip(0, 255).astype(np.uint8)


def mangled(scene: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A scene on its side or head, jumbled, or laid over dead leaves."""
    choice = random.integers(3)
    if choice == 0:
        return np.ascontiguousarray(np.rot90(scene, int(random.integers(1, 4))))
    if choice == 1:
        parts = int(random.choice([2, 4, 8]))
        tiles = [tile for row in np.split(scene, parts, 0) for tile in np.split(row, parts, 1)]
        random.shuffle(tiles)
        rows = [np.concatenate(tiles[i * parts : (i + 1) * parts], 1) for i in range(parts)]
        return np.concatenate(rows, 0)
    weight = random.uniform(0.3, 0.7)
    other = dead_leaves(scene.shape[0], scene.shape[1], random)
    return (weight * scene + (1 - weight) * other).astype(np.uint8)


def _photograph_like(scene: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Large shaded areas with a horizon and some boxes: the coarse layout of a room, in no way a tabletop scene."""
    height, width = scene.shape[:2]
    picture = dead_leaves(height, width, random).astype(np.float32) * 0.4
    horizon = int(random.uniform(0.2, 0.8) * height)
    picture[:horizon] += random.uniform(40, 200, 3) * 0.6
    picture[horizon:] += random.uniform(20, 160, 3) * 0.6
    for _ in range(int(random.integers(2, 9))):
        top, left = random.integers(0, [height - 8, width - 8])
        bottom, right = top + random.integers(8, height), left + random.integers(4, width // 2)
        picture[top:bottom, left:right] = picture[top:bottom, left:right] * 0.3 + random.uniform(0, 200, 3)
    return picture.clip(0, 255).astype(np.uint8)
