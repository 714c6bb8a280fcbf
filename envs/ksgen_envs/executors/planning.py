"""Plans how the robot does a key step, from the simulator's truth: a step goal becomes waypoints.

A gripper that points down chooses its own grasp: it may turn about round and square things to where its fingers have
room, both where the thing is and where it is to go.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.surroundings import Surroundings
from ksgen_envs.executors.waypoints import Waypoints
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.goals import StepGoal
from ksgen_envs.robot.gripper import GripperState
from ksgen_envs.robot.model import FINGER_HEIGHT, FINGER_THICK, MAX_APERTURE, TIP, WORKSPACE

FAST, CAREFUL = 0.40, 0.14
"""Metres a second on the way, and beside things."""
_TURNING = 2.0  # radians a second
_MARGIN = 0.006  # metres between an open finger and what it will hold
_FINGER_RADIUS = 0.0068
_PALM = 0.05  # metres from the tool point to the palm's ends
_HOVER = 0.030
_SHARES = np.linspace(0.0, 1.0, 9)
_ROUND_YAWS = np.arange(12) * np.pi / 12


@dataclass(frozen=True)
class _Hold:
    """The tool point's places while the thing goes to its goal (N, 3), the yaws there (N,), and the thing's width."""

    positions: NDArray[np.float64]
    yaws: NDArray[np.float64]
    width: float


def plan_step(env: WorkbenchEnv, step: StepGoal, state: GripperState) -> Waypoints:
    """A path that carries out a key step.

    Args:
        env: the environment, whose simulation is looked at and left alone.
        step: what to do.
        state: where the robot is.
    """
    model, data = env.model, env.data
    held = np.flatnonzero(model.geom_bodyid == model.body(step.body).id)
    robot = env.robot_geoms
    around = Surroundings(model, data, np.concatenate([held, robot]))
    hold = max(_holds(env, step, held), key=lambda hold: _liking(hold, around, state))
    path = _Path(state)
    opened = 0.0 if step.verb == "press" else min(hold.width + 2 * _MARGIN, MAX_APERTURE)
    low, high = _box(model, data, held)
    below, wide = hold.positions[0, 2] - low[2], 0.5 * float(np.linalg.norm((high - low)[:2]))
    first, last = hold.positions[0], hold.positions[-1]
    path.over(first, float(hold.yaws[0]), opened, Surroundings(model, data, robot), _PALM, TIP)
    path.go(first, float(hold.yaws[0]), opened, speed=CAREFUL)
    path.grip()
    if step.verb == "place":
        path.over(last, float(hold.yaws[-1]), opened, around, max(wide + 0.015, _PALM), max(below, TIP))
        path.go(last, float(hold.yaws[-1]), opened, speed=0.5 * CAREFUL)
    else:
        for position, yaw in zip(hold.positions[1:], hold.yaws[1:], strict=True):
            path.go(position, float(yaw), opened, speed=CAREFUL)
    path.grip(False)
    clear = last.copy()
    clear[2] += _HOVER if step.verb == "press" else _HOVER + 0.02
    path.go(clear, float(hold.yaws[-1]), opened, speed=0.25)
    return path.waypoints()


def _holds(env: WorkbenchEnv, step: StepGoal, geoms: NDArray[np.int64]) -> list[_Hold]:
    """All grasps that come into question, with the way that each goes."""
    model = env.model
    point, axis = step.grasp.point.copy(), step.grasp.axis
    if step.verb in ("pull", "push"):
        # The middle of the knob: beside the drawer's front there is no room for a finger's width.
        middles = model.geom_pos[geoms]
        point = middles[np.linalg.norm(middles - point, axis=1).argmin()].copy()
    turns = _symmetries(model, geoms) if step.verb in ("place", "turn") else np.zeros(1)
    if step.verb == "press":
        axis, turns = np.array([1.0, 0.0, 0.0]), _ROUND_YAWS
    poses = _way(env, step)
    positions = np.array([place + rotation @ point for place, rotation in poses])
    if step.verb == "press":
        positions[:, 2] += TIP
        positions[-1, 2] -= 0.001
    positions[:, 2] = np.maximum(positions[:, 2], TIP + 0.001)
    axes = np.array([rotation @ axis for _, rotation in poses])
    yaws = np.unwrap(np.arctan2(axes[:, 1], axes[:, 0]))
    return [_Hold(positions, yaws + turn, step.grasp.width) for turn in turns]


def _way(env: WorkbenchEnv, step: StepGoal) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Position and rotation of the step's body on the way from where it is to its goal."""
    ghost = mujoco.MjData(env.model)
    ghost.qpos[:] = env.data.qpos
    joint = ghost.joint(step.joint)
    start, goal = joint.qpos.copy(), np.array(step.goal, np.float64)
    if step.verb == "place" and step.offset is not None:
        goal[:3] = env.data.body(step.support).xpos + step.offset
    poses = []
    for share in (0.0, 1.0) if step.verb == "place" else _SHARES:
        joint.qpos[:] = start + share * (goal - start)
        mujoco.mj_kinematics(env.model, ghost)
        body = ghost.body(step.body)
        poses.append((body.xpos.copy(), body.xmat.reshape(3, 3).copy()))
    return poses


def _symmetries(model: mujoco.MjModel, geoms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turns about the vertical that leave a thing as it looks to a gripper."""
    solid = geoms[model.geom_contype[geoms] != 0]
    kinds = set(model.geom_type[solid].tolist())
    if kinds <= {int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CYLINDER)}:
        return _ROUND_YAWS
    half = model.geom_size[solid[0]]
    square = len(solid) == 1 and abs(half[0] - half[1]) < 1e-4
    return np.array([0.0, np.pi / 2]) if square else np.zeros(1)


def _liking(hold: _Hold, around: Surroundings, state: GripperState) -> float:
    """Greater is better: room for the open fingers at the beginning and the end, then little turning."""
    heights = np.linspace(0.0, FINGER_HEIGHT, 6) - TIP + 0.002
    room = 0.05
    for index in {0, len(hold.yaws) // 2, len(hold.yaws) - 1}:
        direction = np.array([np.cos(hold.yaws[index]), np.sin(hold.yaws[index]), 0.0])
        out = 0.5 * hold.width + FINGER_THICK / 2 + (_MARGIN if hold.width else -FINGER_THICK / 2)
        for side in (-1, 1):
            points = hold.positions[index] + side * out * direction + heights[:, None] * [0.0, 0.0, 1.0]
            room = min(room, around.clearance(points[1:]) - _FINGER_RADIUS)
    turning = abs((hold.yaws[0] - state.yaw + np.pi / 2) % np.pi - np.pi / 2)
    return min(room, 0.012) - 0.0005 * turning


def _box(
    model: mujoco.MjModel, data: mujoco.MjData, geoms: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The low and high corner of the box round geoms."""
    rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
    extent = np.einsum("nij,nj->ni", np.abs(rotation), model.geom_aabb[geoms, 3:])
    return (data.geom_xpos[geoms] - extent).min(axis=0), (data.geom_xpos[geoms] + extent).max(axis=0)


class _Path:
    """Collects waypoints and gives them times."""

    def __init__(self, state: GripperState) -> None:
        self._times = [0.0]
        self._positions = [np.array(state.position)]
        self._yaws = [state.yaw]
        self._apertures = [state.aperture]
        self._holding = [False]

    def go(self, position: NDArray[np.float64], yaw: float, aperture: float, *, speed: float) -> None:
        low, high = np.array(WORKSPACE).T
        position = np.clip(position, low, high)
        turn = abs((yaw - self._yaws[-1] + np.pi / 2) % np.pi - np.pi / 2)
        length = float(np.linalg.norm(position - self._positions[-1]))
        self._add(position, yaw, aperture, self._holding[-1], max(length / speed, turn / _TURNING, 0.08))

    def over(
        self,
        position: NDArray[np.float64],
        yaw: float,
        aperture: float,
        around: Surroundings,
        wide: float,
        below: float,
    ) -> None:
        """Up, and across to just above ``position``.

        ``wide`` is how far to the side what passes over things reaches, ``below`` how far down from the tool point.
        """
        start = self._positions[-1]
        top = around.top_along(start, position, wide)
        height = max(top + below + 0.018, start[2], position[2] + _HOVER)
        if start[2] < height:
            self.go(np.array([*start[:2], height]), self._yaws[-1], self._apertures[-1], speed=0.6 * FAST)
        above = np.array([*position[:2], height])
        self.go(above, yaw, aperture, speed=FAST)
        # Come to rest before going down.
        self._add(above, yaw, aperture, self._holding[-1], 0.12)

    def grip(self, holding: bool = True) -> None:
        """Close the fingers where they are, or open them."""
        self._add(self._positions[-1], self._yaws[-1], self._apertures[-1], self._holding[-1], 0.08)
        self._add(self._positions[-1], self._yaws[-1], self._apertures[-1], holding, 0.04)

    def waypoints(self) -> Waypoints:
        return Waypoints(
            np.array(self._times),
            np.stack(self._positions),
            np.array(self._yaws),
            np.array(self._apertures),
            np.array(self._holding),
        )

    def _add(self, position: NDArray[np.float64], yaw: float, aperture: float, holding: bool, seconds: float) -> None:
        self._times.append(self._times[-1] + seconds)
        self._positions.append(position)
        self._yaws.append(yaw)
        self._apertures.append(aperture)
        self._holding.append(holding)
