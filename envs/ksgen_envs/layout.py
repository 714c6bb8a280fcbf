"""Where things stand at the start: random places with room for a hand between them, all in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.view import View

GAP = 0.026
"""Least free metres between two things: room for a finger."""
SPACING = 0.066
"""Least metres between the middles of two loose things."""
_TRIES = 400


class NoRoom(Exception):
    """The things do not fit in this way; another sample may."""


@dataclass(frozen=True)
class Keep:
    """A rectangle on the table that stays free, world axes.

    Attributes:
        x, y: its middle, metres.
        half_x, half_y: its half sizes.
    """

    x: float
    y: float
    half_x: float
    half_y: float

    def distance(self, x: float, y: float) -> float:
        """Metres from a point to the rectangle; 0 inside."""
        return float(np.hypot(max(abs(x - self.x) - self.half_x, 0.0), max(abs(y - self.y) - self.half_y, 0.0)))


@dataclass(frozen=True)
class Area:
    """A rectangle on the table to put things in: x from ``left`` to ``right``, y from ``near`` to ``far``."""

    left: float
    right: float
    near: float
    far: float

    def sample(self, rng: np.random.Generator) -> tuple[float, float]:
        """A point in it."""
        return float(rng.uniform(self.left, self.right)), float(rng.uniform(self.near, self.far))


def scatter(
    rng: np.random.Generator,
    radii: Sequence[float],
    heights: Sequence[float],
    area: Area,
    view: View,
    keep: Sequence[Keep] = (),
) -> NDArray[np.float64]:
    """Places (N, 2) for things with these footprint radii and heights.

    Raises:
        NoRoom: they do not fit; sample the whole scene anew.
    """
    places: list[tuple[float, float]] = []
    for index, (radius, height) in enumerate(zip(radii, heights, strict=True)):
        for _ in range(_TRIES):
            x, y = area.sample(rng)
            if not view.sees(_outline(x, y, radius, height)):
                continue
            if any(rect.distance(x, y) < radius + GAP for rect in keep):
                continue
            if all(
                np.hypot(x - px, y - py) >= max(radius + radii[other] + GAP, SPACING)
                for other, (px, py) in enumerate(places)
            ):
                places.append((x, y))
                break
        else:
            raise NoRoom(f"no place for thing {index} of {len(radii)}")
    return np.array(places).reshape(-1, 2)


def require_seen(view: View, *points: NDArray[np.float64], margin: float = 0.02) -> None:
    """Check that all points (N, 3) lie in the picture.

    Raises:
        NoRoom: some do not; sample the whole scene anew.
    """
    if not all(view.sees(group, margin) for group in points):
        raise NoRoom("something is outside the picture")


def _outline(x: float, y: float, radius: float, height: float) -> NDArray[np.float64]:
    return np.array([(x + i * radius, y + j * radius, z) for i in (-1, 1) for j in (-1, 1) for z in (0.0, height)])
