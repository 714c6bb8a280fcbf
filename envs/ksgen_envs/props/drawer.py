"""A small cabinet with one drawer that slides out toward the person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Grasp
from ksgen_envs.props.base import (
    Loose,
    Pose,
    Prop,
    Rgba,
    Space,
    add_body,
    add_box,
    add_cylinder,
    add_joint_sensor,
    forbid_contact,
    pinch,
    turned,
    turned_box,
)
from ksgen_envs.props.colours import Colour

HALF_WIDTH, HALF_DEPTH, HEIGHT = 0.068, 0.052, 0.066
SKIN = 0.004
WALL = 0.003
DRAWER_FLOOR = 0.010
"""Height of the inside floor of the drawer above the table."""
SIDE = 0.022
"""Half height of the drawer's walls."""
OPEN = 0.082
"""Metres the drawer comes out."""
KNOB_LENGTH, KNOB_RADIUS = 0.020, 0.010
KNOB_HEIGHT = 0.036


@dataclass(frozen=True)
class Cabinet(Prop):
    """A cabinet, fixed to the table, and its drawer; its pose is the middle of its underside.

    Attributes:
        colour: of the cabinet.
        front: RGBA of the drawer.
        knob: RGBA of the drawer's knob.
    """

    colour: Colour
    front: Rgba
    knob: Rgba

    drawer = "drawer"
    joint = "drawer_slide"
    sensor = "drawer_opening"

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The cabinet and its drawer."""
        return ((self.name, self.body), ("drawer", self.drawer))

    @property
    def grasp(self) -> Grasp:
        """The drawer's knob, from left to right."""
        return pinch((0, -HALF_DEPTH - KNOB_LENGTH * 0.6, KNOB_HEIGHT), (1, 0, 0), 2 * KNOB_RADIUS)

    def corners(self) -> NDArray[np.float64]:
        """(16, 3): the cabinet, and the knob of the open drawer."""
        front = turned_box(self.pose, (HALF_WIDTH, HALF_DEPTH + OPEN + KNOB_LENGTH), 0.0, KNOB_HEIGHT)
        return np.concatenate([turned_box(self.pose, (HALF_WIDTH, HALF_DEPTH), 0.0, HEIGHT), front[::1][:4], front[4:]])

    def goal_for(self, prop: Loose, place: int, places: int) -> Pose:
        """Where ``prop`` lies in the open drawer as the ``place``-th of ``places`` things side by side."""
        x = (place - (places - 1) / 2) * 0.056
        spot = turned(self.pose, (x, -HALF_DEPTH - OPEN * 0.5 + 0.003, DRAWER_FLOOR))
        return prop.standing_at(spot[0], spot[1], spot[2])

    def build(self, spec: Any) -> None:
        """The shell, the drawer on its slide, and the sensor of the opening."""
        cabinet = add_body(spec, self.body, self.pose, free=False)
        x, y, z = HALF_WIDTH, HALF_DEPTH, HEIGHT
        rgba, dark = self.colour.rgba, self.colour.shade(0.6)
        add_box(cabinet, (x, y, SKIN / 2), (0, 0, SKIN / 2), dark)
        add_box(cabinet, (x, y, SKIN / 2), (0, 0, z - SKIN / 2), rgba)
        add_box(cabinet, (x - SKIN, SKIN / 2, z / 2 - SKIN), (0, y - SKIN / 2, z / 2), dark)
        for sign in (-1, 1):
            add_box(cabinet, (SKIN / 2, y, z / 2 - SKIN), (sign * (x - SKIN / 2), 0, z / 2), rgba)
        self._build_drawer(cabinet)
        forbid_contact(spec, self.body, self.drawer)
        add_joint_sensor(spec, self.sensor, self.joint)

    def _build_drawer(self, cabinet: Any) -> None:
        drawer = cabinet.add_body(name=self.drawer)
        drawer.add_joint(
            name=self.joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, -1, 0),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=(0.0, OPEN + 0.003),
            damping=2.0,
            frictionloss=0.3,
        )
        half_x, half_y = HALF_WIDTH - SKIN - 0.0015, HALF_DEPTH - SKIN - 0.001
        inside = tuple(0.55 * channel + 0.25 for channel in self.front[:3])
        shell: Rgba = (inside[0], inside[1], inside[2], 1.0)
        bottom = SKIN + 0.001
        floor_half = (DRAWER_FLOOR - bottom) / 2
        add_box(drawer, (half_x, half_y, floor_half), (0, 0, bottom + floor_half), shell)
        wall_z = DRAWER_FLOOR + SIDE
        for sign in (-1, 1):
            add_box(drawer, (WALL / 2, half_y, SIDE), (sign * (half_x - WALL / 2), 0, wall_z), shell)
        add_box(drawer, (half_x - WALL, WALL / 2, SIDE), (0, half_y - WALL / 2, wall_z), shell)
        # The front panel closes the whole opening, just before the cabinet's sides.
        front_z = HEIGHT / 2 - SKIN - 0.001
        add_box(drawer, (HALF_WIDTH - 0.002, 0.003, front_z), (0, -HALF_DEPTH - 0.0035, HEIGHT / 2), self.front)
        add_cylinder(
            drawer,
            KNOB_RADIUS,
            KNOB_LENGTH / 2,
            (0, -HALF_DEPTH - 0.0065 - KNOB_LENGTH / 2, KNOB_HEIGHT),
            self.knob,
            quat=(np.sqrt(0.5), np.sqrt(0.5), 0, 0),
        )

    @property
    def space(self) -> Space:
        """Inside the drawer, wherever the drawer is."""
        return Space(self.drawer, (0.0, 0.0, HEIGHT / 2), (HALF_WIDTH, HALF_DEPTH, HEIGHT / 2))
