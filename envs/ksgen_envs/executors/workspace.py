"""What a robot can reach, and a check that names what it cannot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ksgen_envs.executors.sight import Array
from ksgen_envs.executors.waypoints import Waypoints
from ksgen_envs.robot.model import MAX_APERTURE, TIP, WORKSPACE
from ksgen_models.errors import OutOfReach


@dataclass(frozen=True)
class Workspace:
    """Limits of a gripper that points down over the table; by default inside those of the Workbench's robot.

    Attributes:
        low, high: (x, y, z) metres in the world, corners of the box that the point between the pads may be in.
        widest: metres, the gripper's largest aperture.
        slack: metres by which a waypoint may lie outside and is brought back in; farther out it is out of reach.
    """

    low: tuple[float, float, float] = (-0.30, -0.30, TIP)
    high: tuple[float, float, float] = (0.30, WORKSPACE[1][1], 0.30)
    widest: float = MAX_APERTURE
    slack: float = 0.02

    def check(self, waypoints: Waypoints) -> Waypoints:
        """The waypoints, brought inside where they are out by no more than the slack.

        Raises:
            OutOfReach: a place or an aperture is beyond the limits, or not a number; says which, where and by how much.
        """
        if not all(np.isfinite(getattr(waypoints, name)).all() for name in ("positions", "yaws", "apertures")):
            raise OutOfReach("a waypoint is not a number; the hand could not be read")
        low, high = np.array(self.low), np.array(self.high)
        beyond = np.maximum(low - waypoints.positions, waypoints.positions - high)
        worst, axis = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        if beyond[worst, axis] > self.slack:
            raise OutOfReach(
                f"waypoint {worst} of {len(waypoints.times)} at {_said(waypoints.positions[worst])} m is "
                f"{100 * beyond[worst, axis]:.1f} cm beyond the robot's reach in {'xyz'[axis]} "
                f"({self.low[axis]:.2f} to {self.high[axis]:.2f} m); move the scene or imagine anew"
            )
        widest = float(waypoints.apertures.max())
        if widest > self.widest + 1e-9:
            raise OutOfReach(
                f"the gripper would have to open {100 * widest:.1f} cm and opens {100 * self.widest:.1f} cm; "
                "the thing is too wide to be held there"
            )
        return replace(waypoints, positions=np.clip(waypoints.positions, low, high))


def _said(place: Array) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in place) + ")"
