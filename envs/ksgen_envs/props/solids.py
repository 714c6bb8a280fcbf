"""Plain things that a hand can pick up: block, ball, cylinder, peg."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ksgen_envs.goals import Grasp
from ksgen_envs.props.base import CLEARANCE, Loose, add_body, add_box, add_cylinder, add_sphere, make_pose, pinch
from ksgen_envs.props.colours import Colour


@dataclass(frozen=True)
class Block(Loose):
    """A cube.

    Attributes:
        colour: its colour.
        size: length of an edge, metres.
    """

    colour: Colour
    size: float

    @property
    def rest_height(self) -> float:
        """Half an edge."""
        return self.size / 2

    @property
    def radius(self) -> float:
        """Half the diagonal of a face."""
        return self.size / np.sqrt(2)

    @property
    def grasp(self) -> Grasp:
        """Across the left and right faces, a little above the middle."""
        return pinch((0, 0, 0.1 * self.size), (1, 0, 0), self.size)

    def build(self, spec: Any) -> None:
        """A cube on a free joint."""
        half = self.size / 2
        add_box(add_body(spec, self.body, self.pose, free=True), (half, half, half), (0, 0, 0), self.colour.rgba)


@dataclass(frozen=True)
class Ball(Loose):
    """A ball.

    Attributes:
        colour: its colour.
        size: diameter, metres.
    """

    colour: Colour
    size: float

    @property
    def rest_height(self) -> float:
        """The radius."""
        return self.size / 2

    @property
    def radius(self) -> float:
        """The radius."""
        return self.size / 2

    @property
    def grasp(self) -> Grasp:
        """Through the middle, from left to right."""
        return pinch((0, 0, 0), (1, 0, 0), self.size)

    def build(self, spec: Any) -> None:
        """A sphere on a free joint; soft enough (rolling friction) to stay where it is put."""
        body = add_body(spec, self.body, self.pose, free=True)
        add_sphere(body, self.size / 2, (0, 0, 0), self.colour.rgba, condim=6, friction=(0.9, 0.01, 0.002))


@dataclass(frozen=True)
class Cylinder(Loose):
    """An upright cylinder.

    Attributes:
        colour: its colour.
        size: diameter, metres.
        height: metres.
    """

    colour: Colour
    size: float
    height: float

    @property
    def rest_height(self) -> float:
        """Half the height."""
        return self.height / 2

    @property
    def radius(self) -> float:
        """The radius."""
        return self.size / 2

    @property
    def grasp(self) -> Grasp:
        """Across the diameter, from left to right, above the middle."""
        return pinch((0, 0, 0.15 * self.height), (1, 0, 0), self.size)

    def build(self, spec: Any) -> None:
        """A cylinder on a free joint, with a slightly darker band round it that tells it from a ball."""
        body = add_body(spec, self.body, self.pose, free=True)
        add_cylinder(body, self.size / 2, self.height / 2, (0, 0, 0), self.colour.rgba)
        add_cylinder(
            body, self.size / 2 + 0.0004, 0.003, (0, 0, -0.1 * self.height), self.colour.shade(0.7), visual_only=True
        )


@dataclass(frozen=True)
class Peg(Loose):
    """A round peg with a rounded head to hold it by.

    Attributes:
        colour: its colour.
        size: diameter of the shaft, metres.
        height: of the shaft, metres.
    """

    colour: Colour
    size: float
    height: float

    @property
    def rest_height(self) -> float:
        """Half the height of the shaft."""
        return self.height / 2

    @property
    def top(self) -> float:
        """The head is half a ball on the shaft."""
        return self.height / 2 + self.size / 2

    @property
    def radius(self) -> float:
        """The radius of the shaft."""
        return self.size / 2

    @property
    def grasp(self) -> Grasp:
        """Near the top of the shaft, from left to right."""
        return pinch((0, 0, 0.33 * self.height), (1, 0, 0), self.size)

    def build(self, spec: Any) -> None:
        """A shaft and a head on a free joint; the shaft's flat end keeps it standing."""
        body = add_body(spec, self.body, self.pose, free=True)
        add_cylinder(body, self.size / 2, self.height / 2, (0, 0, 0), self.colour.rgba)
        add_sphere(body, self.size / 2, (0, 0, self.height / 2), self.colour.rgba, density=100.0)


def sample_solid(rng: np.random.Generator, kind: str, colour: Colour) -> Block | Ball | Cylinder:
    """A "block", "ball" or "cylinder" of a random size that fits into a bin and a drawer, at the origin."""
    name, yaw = f"{colour.name} {kind}", float(rng.uniform(-0.3, 0.3))
    if kind == "block":
        size = float(rng.uniform(0.032, 0.039))
        return Block(name, make_pose(0, 0, size / 2 + CLEARANCE, yaw), colour, size)
    if kind == "ball":
        size = float(rng.uniform(0.036, 0.042))
        return Ball(name, make_pose(0, 0, size / 2 + CLEARANCE, yaw), colour, size)
    size, height = float(rng.uniform(0.030, 0.036)), float(rng.uniform(0.038, 0.045))
    return Cylinder(name, make_pose(0, 0, height / 2 + CLEARANCE, yaw), colour, size, height)
