"""What an executor follows: where a parallel gripper is to be, how it is turned, and how far it is open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Waypoints:
    """A path for a gripper that points down, N places in the order of time.

    Attributes:
        times: (N,) float64 seconds from the step's first frame, rising.
        positions: (N, 3) float64 metres in the world, the point half-way between the finger pads.
        yaws: (N,) float64 radians about the world's z axis, the direction from one pad to the other; turning by π
            changes nothing.
        apertures: (N,) float64 metres between the pads.
        holding: (N,) bool, whether the step's object is held (or pressed) there.
        guarded: (N,) bool, whether the way to this place is gone slowly and ends early where something is felt below;
            all further places are then shifted by what was missing to it. None: nowhere.
    """

    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    yaws: NDArray[np.float64]
    apertures: NDArray[np.float64]
    holding: NDArray[np.bool_]
    guarded: NDArray[np.bool_] | None = None

    def part(self, first: int, end: int | None = None) -> Waypoints:
        """The places from ``first`` up to, but not, ``end``."""
        chosen = slice(first, end)
        guarded = None if self.guarded is None else self.guarded[chosen]
        return Waypoints(
            self.times[chosen],
            self.positions[chosen],
            self.yaws[chosen],
            self.apertures[chosen],
            self.holding[chosen],
            guarded,
        )

    def shifted(self, by: NDArray[np.float64], turned: float = 0.0) -> Waypoints:
        """The same path moved by (3,) metres and turned about the vertical by radians, each place in itself."""
        return replace(self, positions=self.positions + by, yaws=self.yaws + turned)
