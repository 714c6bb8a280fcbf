"""What an executor follows: where a parallel gripper is to be, how it is turned, and how far it is open."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    yaws: NDArray[np.float64]
    apertures: NDArray[np.float64]
    holding: NDArray[np.bool_]
