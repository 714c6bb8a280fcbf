"""What all props share: a name, a place, and helpers that write MJCF.

Lengths are metres; z = 0 is the table top; the person stands at −y. A pose is (7,) float64: position and quaternion
(w, x, y, z), the qpos of a free joint. mujoco is imported by the modules of this package, which are themselves only
imported when a Workbench is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Grasp

Pose = NDArray[np.float64]
Rgba = tuple[float, float, float, float]

WOOD_DENSITY = 600.0
"""kg/m³."""
CLEARANCE = 0.0003
"""Metres between things that rest on each other, so that a placed prop touches without overlapping."""


def make_pose(x: float, y: float, z: float, yaw: float = 0.0) -> Pose:
    """A pose that is turned by ``yaw`` radians about the vertical."""
    return np.array([x, y, z, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def yaw_of(pose: Pose) -> float:
    """Turn about the vertical, radians, of a pose that is not tilted."""
    return float(2 * np.arctan2(pose[6], pose[3]))


def turned(pose: Pose, offset: Sequence[float]) -> NDArray[np.float64]:
    """World position (3,) of a point given in the frame of an untilted ``pose``."""
    yaw = yaw_of(pose)
    x, y, z = offset
    cos, sin = np.cos(yaw), np.sin(yaw)
    return pose[:3] + np.array([cos * x - sin * y, sin * x + cos * y, z])


def slug(name: str) -> str:
    """The MJCF name of what one calls ``name``: "red block" → ``red_block``."""
    return name.replace(" ", "_")


@dataclass(frozen=True)
class Space:
    """The room inside a prop that things are put into: a box in the frame of a body that is never tilted.

    Attributes:
        body: MJCF name of the body.
        centre, half: (3,) metres.
    """

    body: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]

    def contains(self, data: Any, point: NDArray[np.float64]) -> bool:
        """Whether a world point (3,) is inside."""
        body = data.body(self.body)
        local = body.xmat.reshape(3, 3).T @ (np.asarray(point) - body.xpos)
        return bool(np.all(np.abs(local - self.centre) < self.half))


@dataclass(frozen=True)
class Prop(ABC):
    """Something on the table.

    Attributes:
        name: as one would say it, unique in the scene.
        pose: (7,) where it is at the start.
    """

    name: str
    pose: Pose

    @property
    def body(self) -> str:
        """MJCF name of its body."""
        return slug(self.name)

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """What one would name of it: (name, MJCF body) pairs."""
        return ((self.name, self.body),)

    @abstractmethod
    def corners(self) -> NDArray[np.float64]:
        """(N, 3) world points that hold all of it; they must lie in the picture."""
        ...

    @abstractmethod
    def build(self, spec: Any) -> None:
        """Add it to an ``mujoco.MjSpec``."""
        ...

    def apply_effects(self, model: Any, data: Any) -> None:  # noqa: B027 - most props do nothing
        """Show what its state does, e.g. light a bulb."""

    @property
    def space(self) -> Space | None:
        """The room inside; None if nothing can be put into it."""
        return None


@dataclass(frozen=True)
class Loose(Prop):
    """A prop that can be picked up: its body hangs on a free joint of the body's name."""

    @property
    def joint(self) -> str:
        """MJCF name of the free joint."""
        return self.body

    @property
    @abstractmethod
    def rest_height(self) -> float:
        """Metres from what it stands on to the middle of its body."""
        ...

    @property
    def top(self) -> float:
        """Metres from the middle of its body to its highest point."""
        return self.rest_height

    @property
    @abstractmethod
    def radius(self) -> float:
        """Metres, of the circle round its footprint."""
        ...

    @property
    @abstractmethod
    def grasp(self) -> Grasp:
        """Where a hand holds it."""
        ...

    def standing_at(self, x: float, y: float, ground: float = 0.0) -> Pose:
        """Its pose when it stands at (x, y) on a surface at height ``ground``, turned as it is at the start."""
        pose = self.pose.copy()
        pose[:3] = x, y, ground + self.rest_height + CLEARANCE
        return pose

    def moved_to(self, x: float, y: float) -> Self:
        """The same prop, standing on the table at (x, y)."""
        return replace(self, pose=self.standing_at(x, y))

    def corners(self) -> NDArray[np.float64]:
        """(8, 3): the box round it."""
        x, y, z = self.pose[:3]
        return box_corners((x, y, z - self.rest_height), (self.radius, self.radius), self.rest_height + self.top)


def box_corners(floor: Sequence[float], half: Sequence[float], height: float) -> NDArray[np.float64]:
    """(8, 3) corners of an upright box given the middle of its floor, its half sizes and its height."""
    x, y, z = floor
    return np.array(
        [(x + i * half[0], y + j * half[1], z + k * height) for i in (-1, 1) for j in (-1, 1) for k in (0, 1)]
    )


def turned_box(pose: Pose, half: Sequence[float], low: float, high: float) -> NDArray[np.float64]:
    """(8, 3) world corners of a box in the frame of an untilted pose: x and y half sizes, z from low to high."""
    return np.stack(
        [turned(pose, (i * half[0], j * half[1], z)) for i in (-1, 1) for j in (-1, 1) for z in (low, high)]
    )


def pinch(point: Sequence[float], axis: Sequence[float], width: float) -> Grasp:
    """A grasp from plain numbers."""
    return Grasp(np.asarray(point, np.float64), np.asarray(axis, np.float64), float(width))


def add_body(spec: Any, name: str, pose: Pose, *, free: bool) -> Any:
    """Add a body to the world, on a free joint of the same name or fixed to the table."""
    body = spec.worldbody.add_body(name=name, pos=pose[:3], quat=pose[3:])
    if free:
        # A little damping settles rolling props and is too weak to be felt by who moves them.
        body.add_freejoint(name=name)
    return body


def add_box(body: Any, half: Sequence[float], pos: Sequence[float], rgba: Rgba, **options: Any) -> Any:
    """Add a box geom by its half sizes."""
    return _add(body, mujoco.mjtGeom.mjGEOM_BOX, half, pos, rgba, options)


def add_cylinder(body: Any, radius: float, half_height: float, pos: Sequence[float], rgba: Rgba, **options: Any) -> Any:
    """Add an upright cylinder geom."""
    return _add(body, mujoco.mjtGeom.mjGEOM_CYLINDER, (radius, half_height, 0.0), pos, rgba, options)


def add_sphere(body: Any, radius: float, pos: Sequence[float], rgba: Rgba, **options: Any) -> Any:
    """Add a sphere geom."""
    return _add(body, mujoco.mjtGeom.mjGEOM_SPHERE, (radius, 0.0, 0.0), pos, rgba, options)


def add_material(spec: Any, name: str, rgba: Rgba, *, emission: float = 0.0, shine: float = 0.3) -> None:
    """Add a named material, for geoms whose looks change while the simulation runs."""
    spec.add_material(name=name, rgba=rgba, emission=emission, specular=shine, shininess=shine)


def add_joint_sensor(spec: Any, name: str, joint: str) -> None:
    """Add a sensor that reads a slide or hinge joint."""
    spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_JOINTPOS, objtype=mujoco.mjtObj.mjOBJ_JOINT, objname=joint)


def forbid_contact(spec: Any, one: str, other: str) -> None:
    """Let two bodies that slide or turn on each other not collide; the joint guides them."""
    spec.add_exclude(bodyname1=one, bodyname2=other)


def _add(body: Any, kind: Any, size: Sequence[float], pos: Sequence[float], rgba: Rgba, options: dict[str, Any]) -> Any:
    options = {"density": WOOD_DENSITY, "friction": (0.9, 0.01, 0.0005), **options}
    if options.pop("visual_only", False):
        options |= {"contype": 0, "conaffinity": 0, "density": 0.0}
    return body.add_geom(type=kind, size=size, pos=pos, rgba=rgba, **options)
