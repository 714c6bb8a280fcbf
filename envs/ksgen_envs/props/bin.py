"""An open bin to sort things into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.props.base import Loose, Pose, Prop, Space, add_body, add_box, turned, turned_box
from ksgen_envs.props.colours import Colour

WALL = 0.004
HEIGHT = 0.030
FLOOR = 0.004


@dataclass(frozen=True)
class Bin(Prop):
    """An open box, fixed to the table; its pose is the middle of its underside.

    Attributes:
        colour: its colour.
        half: outer half sizes along x and y, metres.
    """

    colour: Colour
    half: tuple[float, float]

    def corners(self) -> NDArray[np.float64]:
        """(8, 3)."""
        return turned_box(self.pose, self.half, 0.0, HEIGHT)

    def goal_for(self, prop: Loose, place: int, places: int) -> Pose:
        """Where ``prop`` lies as the ``place``-th of ``places`` things side by side in the bin."""
        step = 2 * (self.half[0] - WALL) / max(places, 2)
        x = (place - (places - 1) / 2) * step
        spot = turned(self.pose, (x, 0.0, FLOOR))
        return prop.standing_at(spot[0], spot[1], spot[2])

    def build(self, spec: Any) -> None:
        """A darker floor and four walls."""
        body = add_body(spec, self.body, self.pose, free=False)
        x, y = self.half
        rgba, side = self.colour.rgba, HEIGHT / 2
        add_box(body, (x, y, FLOOR / 2), (0, 0, FLOOR / 2), self.colour.shade(0.65))
        for sign in (-1, 1):
            add_box(body, (x, WALL / 2, side), (0, sign * (y - WALL / 2), side), rgba)
            add_box(body, (WALL / 2, y - WALL, side), (sign * (x - WALL / 2), 0, side), rgba)

    @property
    def space(self) -> Space:
        """Between the walls and not far above them."""
        half_height = (HEIGHT + 0.015) / 2
        return Space(self.body, (0.0, 0.0, half_height), (*self.half, half_height))
