"""The table top and the lights over it."""

from __future__ import annotations

import colorsys
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

TEXTURE_SIZE = 256
_REPEAT = 0.6
"""Metres of table that one texture covers."""

# Hue, saturation, value: muted, so that things and skin stand out, and neither black nor white.
_TONES = (
    (0.08, 0.28, 0.50),
    (0.09, 0.18, 0.66),
    (0.60, 0.16, 0.45),
    (0.58, 0.10, 0.62),
    (0.38, 0.16, 0.46),
    (0.45, 0.12, 0.60),
    (0.75, 0.08, 0.48),
    (0.00, 0.00, 0.55),
    (0.62, 0.25, 0.40),
)


def build_table(spec: Any, rng: np.random.Generator) -> None:
    """Add the table: a plane at z = 0 with a procedural texture."""
    texture = spec.add_texture(
        name="table", type=mujoco.mjtTexture.mjTEXTURE_2D, width=TEXTURE_SIZE, height=TEXTURE_SIZE, nchannel=3
    )
    texture.data = table_texture(rng).tobytes()
    material = spec.add_material(
        name="table", texrepeat=(1 / _REPEAT, 1 / _REPEAT), texuniform=True, specular=0.08, shininess=0.1
    )
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "table"
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(1.2, 1.2, 0.05),
        material="table",
        friction=(0.9, 0.01, 0.0005),
    )


def table_texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """(256, 256, 3) uint8: wood grain, speckle, a soft checker, or nearly plain, in a muted tone."""
    hue, saturation, value = _TONES[rng.integers(len(_TONES))]
    value = value * rng.uniform(0.9, 1.1)
    base = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(-0.02, 0.02)) % 1.0, saturation, value))
    kind = rng.choice(["wood", "noise", "checker", "plain"], p=[0.4, 0.2, 0.15, 0.25])
    pattern = {"wood": _wood, "noise": _noise, "checker": _checker, "plain": _plain}[str(kind)](rng)
    picture = base * (1.0 + pattern[..., None]) * 255.0
    return np.clip(picture, 0, 255).astype(np.uint8)


def _smooth(rng: np.random.Generator, across: int, along: int) -> NDArray[np.float64]:
    """(256, 256) periodic noise in about [-1, 1] with so many bumps across and along."""
    u = np.arange(TEXTURE_SIZE) / TEXTURE_SIZE * 2 * np.pi
    field = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE))
    for _ in range(8):
        i, j = rng.integers(0, across + 1), rng.integers(0, along + 1)
        field += rng.uniform(0.3, 1.0) * np.sin(i * u[None, :] + j * u[:, None] + rng.uniform(0, 2 * np.pi))
    return field / max(np.abs(field).max(), 1e-6)


def _wood(rng: np.random.Generator) -> NDArray[np.float64]:
    rows = np.arange(TEXTURE_SIZE)[:, None] / TEXTURE_SIZE
    rings = int(rng.integers(6, 14))
    grain = np.sin(2 * np.pi * (rings * rows + 1.2 * _smooth(rng, 2, 3)))
    fine = rng.normal(0.0, 1.0, (TEXTURE_SIZE, 1)) + 0.3 * rng.normal(0.0, 1.0, (TEXTURE_SIZE, TEXTURE_SIZE))
    planks = rng.normal(0.0, 0.05, 4).repeat(TEXTURE_SIZE // 4)[:, None]
    picture = 0.07 * grain + 0.025 * fine + planks
    return picture if rng.random() < 0.5 else picture.T


def _noise(rng: np.random.Generator) -> NDArray[np.float64]:
    return 0.10 * _smooth(rng, 7, 7) + 0.04 * rng.normal(0.0, 1.0, (TEXTURE_SIZE, TEXTURE_SIZE))


def _checker(rng: np.random.Generator) -> NDArray[np.float64]:
    squares = int(rng.choice([4, 8]))
    cell = np.arange(TEXTURE_SIZE) * squares // TEXTURE_SIZE % 2
    return 0.07 * (2.0 * (cell[:, None] ^ cell[None, :]) - 1.0) + 0.015 * rng.normal(size=(TEXTURE_SIZE, TEXTURE_SIZE))


def _plain(rng: np.random.Generator) -> NDArray[np.float64]:
    return 0.03 * _smooth(rng, 2, 2) + 0.012 * rng.normal(size=(TEXTURE_SIZE, TEXTURE_SIZE))


def build_lights(spec: Any, rng: np.random.Generator) -> None:
    """Add a lamp that casts shadows from a random side, and even light from the camera's side."""
    angle = rng.uniform(0, 2 * np.pi)
    away = rng.uniform(0.25, 0.75)
    position = np.array([away * np.cos(angle), away * np.sin(angle) * 0.7, rng.uniform(1.1, 1.5)])
    warmth = rng.uniform(-0.05, 0.05)
    bright = rng.uniform(0.46, 0.64)
    spec.worldbody.add_light(
        name="key",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=position,
        dir=-position / np.linalg.norm(position),
        diffuse=np.array([bright + warmth, bright, bright - warmth]),
        ambient=(0.0, 0.0, 0.0),
        specular=(0.25, 0.25, 0.25),
        castshadow=True,
    )
    even = rng.uniform(0.29, 0.38)
    spec.visual.headlight.ambient[:] = even
    spec.visual.headlight.diffuse[:] = rng.uniform(0.10, 0.20)
    spec.visual.headlight.specular[:] = 0.05
