"""A board with holes, each with a coloured rim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.props.base import Loose, Pose, Prop, Rgba, add_body, add_box, turned, turned_box
from ksgen_envs.props.colours import Colour

FLOOR, HEIGHT = 0.005, 0.026
HOLE = 0.0135
"""Half width of a hole, metres; its rim makes it look round."""
RIM = 0.023
"""Outer radius of a rim."""
SPACING = 0.070
HALF_DEPTH = 0.036


@dataclass(frozen=True)
class PegBoard(Prop):
    """A board with a row of holes, fixed to the table; its pose is the middle of its underside.

    Attributes:
        wood: RGBA of the board.
        holes: the colours of the rims, from left to right.
    """

    wood: Rgba
    holes: tuple[Colour, ...]

    @property
    def half_width(self) -> float:
        """Along x, metres."""
        return SPACING * len(self.holes) / 2

    def corners(self) -> NDArray[np.float64]:
        """(8, 3)."""
        return turned_box(self.pose, (self.half_width, HALF_DEPTH), 0.0, HEIGHT + 0.07)

    def hole_x(self, index: int) -> float:
        """Where a hole is along the board, metres."""
        return (index - (len(self.holes) - 1) / 2) * SPACING

    def goal_for(self, peg: Loose, hole: int) -> Pose:
        """Where ``peg`` stands in a hole."""
        spot = turned(self.pose, (self.hole_x(hole), 0.0, FLOOR))
        return peg.standing_at(spot[0], spot[1], spot[2])

    def build(self, spec: Any) -> None:
        """Strips of wood that leave square holes, and round rims on top that cover their corners."""
        board = add_body(spec, self.body, self.pose, free=False)
        x, y = self.half_width, HALF_DEPTH
        dark: Rgba = (0.06, 0.05, 0.05, 1.0)
        add_box(board, (x, y, FLOOR / 2), (0, 0, FLOOR / 2), dark)
        middle, half = (FLOOR + HEIGHT) / 2, (HEIGHT - FLOOR) / 2
        rail = (y - HOLE) / 2
        for sign in (-1, 1):
            add_box(board, (x, rail, half), (0, sign * (HOLE + rail), middle), self.wood)
        edges = [-x, *(self.hole_x(i) + s * HOLE for i in range(len(self.holes)) for s in (-1, 1)), x]
        for left, right in zip(edges[0::2], edges[1::2], strict=True):
            add_box(board, ((right - left) / 2, HOLE, half), ((left + right) / 2, 0, middle), self.wood)
        spec.add_mesh(name="hole_rim", **_ring_mesh(HOLE - 0.0005, RIM, 0.002))
        for index, colour in enumerate(self.holes):
            board.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname="hole_rim",
                pos=(self.hole_x(index), 0, HEIGHT),
                rgba=colour.rgba,
                contype=0,
                conaffinity=0,
                density=0.0,
            )


def _ring_mesh(inner: float, outer: float, height: float, segments: int = 28) -> dict[str, Any]:
    """A flat ring: vertices (4 × segments, 3) and faces as an MjSpec mesh wants them."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(segments)], axis=1)
    up = np.array([0, 0, height])
    vertices = np.concatenate([circle * inner + up, circle * outer + up, circle * outer, circle * inner])
    this, after = np.arange(segments), np.roll(np.arange(segments), -1)

    def quads(low: int, high: int) -> list[NDArray[np.int64]]:
        a, b, c, d = low * segments + this, high * segments + this, high * segments + after, low * segments + after
        return [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]

    faces = np.concatenate([face for pair in ((0, 1), (1, 2), (2, 3), (3, 0)) for face in quads(*pair)])
    return {
        "uservert": vertices.astype(np.float32).ravel(),
        "userface": faces.astype(np.int32).ravel(),
        "inertia": mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    }
