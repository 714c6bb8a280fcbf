"""A small shelf in five parts: a base with two slots, two uprights, a lower and an upper board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Grasp
from ksgen_envs.props.base import (
    CLEARANCE,
    Loose,
    Pose,
    Prop,
    Rgba,
    add_body,
    add_box,
    make_pose,
    pinch,
    turned,
    turned_box,
    yaw_of,
)

SLOT_X = 0.065
"""Metres from the middle of the base to the middle of a slot."""
THICK = 0.014
"""Thickness of an upright; a slot is 2 mm wider."""
BASE_HALF = (0.090, 0.036)
PLATE, BASE_HEIGHT = 0.006, 0.017
UPRIGHT_HEIGHT = 0.105
LEDGE_TOP = 0.042
"""Metres from the underside of an upright to the top of its ledge."""
LEDGE = 0.010
BOARD_THICK = 0.014
LOWER_LENGTH, UPPER_LENGTH = 0.112, 0.154


@dataclass(frozen=True)
class ShelfBase(Prop):
    """The base, fixed to the table, with a slot left and right; its pose is the middle of its underside.

    Attributes:
        rgba: its colour.
    """

    rgba: Rgba

    def corners(self) -> NDArray[np.float64]:
        """(8, 3): the space of the whole shelf."""
        return turned_box(self.pose, BASE_HALF, 0.0, PLATE + UPRIGHT_HEIGHT + BOARD_THICK)

    def build(self, spec: Any) -> None:
        """A dark plate, and on it three blocks that leave the slots between them."""
        base = add_body(spec, self.body, self.pose, free=False)
        x, y = BASE_HALF
        dark: Rgba = (0.08, 0.07, 0.07, 1.0)
        add_box(base, (x, y, PLATE / 2), (0, 0, PLATE / 2), dark)
        half, middle = (BASE_HEIGHT - PLATE) / 2, (BASE_HEIGHT + PLATE) / 2
        gap = THICK / 2 + 0.001
        add_box(base, (SLOT_X - gap, y, half), (0, 0, middle), self.rgba)
        end = (x - SLOT_X - gap) / 2
        for sign in (-1, 1):
            add_box(base, (end, y, half), (sign * (x - end), 0, middle), self.rgba)

    def upright_goal(self, upright: Upright) -> Pose:
        """Where the upright stands in its slot."""
        x = SLOT_X if upright.right else -SLOT_X
        return self._goal(x, PLATE + upright.rest_height)

    def board_goal(self, board: Board) -> Pose:
        """Where the board lies: on the ledges, or on top of the uprights."""
        height = UPRIGHT_HEIGHT if board.upper else LEDGE_TOP
        return self._goal(0.0, PLATE + height + board.rest_height + CLEARANCE)

    def _goal(self, x: float, z: float) -> Pose:
        spot = turned(self.pose, (x, 0.0, z + CLEARANCE))
        return make_pose(spot[0], spot[1], spot[2], yaw_of(self.pose))


@dataclass(frozen=True)
class Upright(Loose):
    """A side of the shelf, standing, with a ledge on its inner face; its pose is its middle.

    Attributes:
        rgba: its colour.
        depth: metres, along y.
        right: whether it is the right one.
    """

    rgba: Rgba
    depth: float
    right: bool

    @property
    def rest_height(self) -> float:
        """Half the height."""
        return UPRIGHT_HEIGHT / 2

    @property
    def radius(self) -> float:
        """Half the depth."""
        return self.depth / 2

    @property
    def grasp(self) -> Grasp:
        """Across the thickness, near the top."""
        return pinch((0, 0, 0.30 * UPRIGHT_HEIGHT), (1, 0, 0), THICK)

    def build(self, spec: Any) -> None:
        """The panel and the ledge, on a free joint."""
        body = add_body(spec, self.body, self.pose, free=True)
        add_box(body, (THICK / 2, self.depth / 2, UPRIGHT_HEIGHT / 2), (0, 0, 0), self.rgba)
        inward = -1 if self.right else 1
        ledge = (inward * (THICK + LEDGE) / 2, 0, LEDGE_TOP - UPRIGHT_HEIGHT / 2 - LEDGE / 2)
        shade: Rgba = (self.rgba[0] * 0.75, self.rgba[1] * 0.75, self.rgba[2] * 0.75, 1.0)
        add_box(body, (LEDGE / 2, self.depth / 2 - 0.004, LEDGE / 2), ledge, shade)


@dataclass(frozen=True)
class Board(Loose):
    """A board, lying; its pose is its middle.

    Attributes:
        rgba: its colour.
        depth: metres, along y.
        upper: whether it is the long one that goes on top.
    """

    rgba: Rgba
    depth: float
    upper: bool

    @property
    def length(self) -> float:
        """Along x, metres."""
        return UPPER_LENGTH if self.upper else LOWER_LENGTH

    @property
    def rest_height(self) -> float:
        """Half the thickness."""
        return BOARD_THICK / 2

    @property
    def radius(self) -> float:
        """Half the length."""
        return self.length / 2

    @property
    def grasp(self) -> Grasp:
        """Across the near and far edges, in the middle."""
        return pinch((0, 0, 0.15 * BOARD_THICK), (0, 1, 0), self.depth)

    def corners(self) -> NDArray[np.float64]:
        """(8, 3)."""
        return turned_box(self.pose, (self.length / 2, self.depth / 2), -self.rest_height, self.rest_height)

    def build(self, spec: Any) -> None:
        """One flat box on a free joint."""
        body = add_body(spec, self.body, self.pose, free=True)
        add_box(body, (self.length / 2, self.depth / 2, BOARD_THICK / 2), (0, 0, 0), self.rgba)
