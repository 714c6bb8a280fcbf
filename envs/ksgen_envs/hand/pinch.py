"""Postures that hold something between thumb and fingers, solved from where the finger pads have to be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from ksgen_envs.hand.skeleton import OPEN, POINT, RELAXED, Array, Posture, bone_frames, bone_length, bone_radii, pad
from ksgen_models.errors import InvalidInput

WIDEST = 0.095
_STEP = 0.002  # solved apertures lie on this grid, so that a process solves each once
_INDEX, _MIDDLE = 7, 10

# Bounds of (index spread, knuckle, middle, end; thumb radial, palmar, roll, knuckle, end), radians.
_LOW = np.array([-0.15, 0.15, 0.15, 0.05, 0.05, 0.10, 0.70, -0.10, -0.15])
_HIGH = np.array([0.20, 1.20, 1.30, 0.75, 1.15, 1.20, 1.60, 0.70, 0.90])
_EASY = {
    # Fingers bent at the knuckles, thumb below them: the hand above, holding along its own length.
    "over": np.array([0.0, 0.80, 0.55, 0.25, 0.50, 0.70, 1.20, 0.20, 0.20]),
    # Fingers nearly straight, thumb under the index finger: the hand beside, holding across its thickness.
    "beside": np.array([0.0, 0.35, 0.55, 0.28, 0.20, 0.85, 1.40, 0.15, 0.20]),
}
Style = Literal["over", "beside"]


@dataclass(frozen=True)
class Hold:
    """Where a posture holds, in the hand frame of an average right hand.

    Attributes:
        point: (3,) metres, half-way between the thumb's and the fingers' pads.
        axis: (3,) unit, from the thumb to the fingers.
    """

    point: Array
    axis: Array


def open_hand() -> Posture:
    """Flat, fingers a little apart."""
    return OPEN


def relaxed() -> Posture:
    """As it hangs when one does nothing."""
    return RELAXED


def point() -> Posture:
    """Index finger out, the others folded: for pressing."""
    return POINT


def pinch(aperture: float, style: Style = "over") -> Posture:
    """Thumb against index finger with ``aperture`` metres between their pads (average hand).

    Raises:
        InvalidInput: the hand does not open that far.
    """
    return _solve(_grid(aperture), 0.0, style)


def grasp(aperture: float, style: Style = "over") -> Posture:
    """Thumb against index and middle finger with ``aperture`` metres between (average hand).

    Raises:
        InvalidInput: the hand does not open that far.
    """
    return _solve(_grid(aperture), 0.5, style)


def hold(posture: Posture) -> Hold:
    """Where `pinch` and `grasp` postures hold."""
    thumb, _ = pad(4, posture)
    index, _ = pad(_INDEX, posture)
    middle, _ = pad(_MIDDLE, posture)
    # The middle finger counts where it works beside the index finger.
    fingers = 0.5 * (index + middle) if np.linalg.norm(index - middle) < 0.030 else index
    gap = fingers - thumb
    return Hold(0.5 * (thumb + fingers), gap / max(float(np.linalg.norm(gap)), 1e-9))


def press(posture: Posture) -> Hold:
    """Tip of the index finger and the direction in which it presses (for `point`)."""
    origins, rotations = bone_frames(posture)
    radius = bone_radii(_INDEX)[1]
    forward = rotations[_INDEX][:, 0] * 0.75 - rotations[_INDEX][:, 2] * 0.66
    centre = origins[_INDEX] + rotations[_INDEX][:, 0] * (bone_length(_INDEX) - radius)
    return Hold(centre + forward * radius, forward / np.linalg.norm(forward))


def _grid(aperture: float) -> float:
    if not 0.0 <= aperture <= WIDEST:
        raise InvalidInput(f"aperture {aperture} m is outside [0, {WIDEST}]; grasp the prop where it is narrower")
    return round(round(aperture / _STEP) * _STEP, 4)


@lru_cache(maxsize=256)
def _solve(aperture: float, middle_share: float, style: Style) -> Posture:
    from scipy.optimize import least_squares

    easy = _EASY[style]

    def residuals(x: Array) -> Array:
        posture = _posture(x)
        thumb, thumb_normal = pad(4, posture)
        index, index_normal = pad(_INDEX, posture)
        middle, _ = pad(_MIDDLE, posture)
        fingers = (1 - middle_share) * index + middle_share * middle
        # With the thumb's pad at `thumb`, the fingers' pads belong `aperture` further along its normal.
        along = thumb_normal - index_normal
        along = along / np.linalg.norm(along)
        miss = (fingers - thumb - aperture * along) / 0.002
        facing = (thumb_normal + index_normal) * 0.7
        return np.concatenate([miss, facing, (x - easy) * 0.8])

    start = np.clip(easy, _LOW + 1e-3, _HIGH - 1e-3)
    found = least_squares(residuals, start, bounds=(_LOW, _HIGH), max_nfev=60)
    return _posture(found.x)


def _posture(x: Array) -> Posture:
    spread, knuckle, middle, end = (float(v) for v in x[:4])
    fingers = (
        (spread, knuckle, middle, end),
        (spread * 0.3, knuckle * 1.02, middle * 1.05 + 0.02, end),
        (-0.02, knuckle * 1.0 + 0.05, middle * 1.0 + 0.10, end * 0.9 + 0.05),
        (-0.06, knuckle * 0.95 + 0.10, middle * 0.9 + 0.18, end * 0.8 + 0.10),
    )
    radial, palmar, roll, thumb_knuckle, thumb_end = (float(v) for v in x[4:])
    return Posture(fingers, (radial, palmar, roll, thumb_knuckle, thumb_end))
