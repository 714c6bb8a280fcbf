"""Follows waypoints by emitting actions, from nothing but what the robot knows of itself.

The controller has a clock of its own, which stands still while the robot is far from where it should be and while the
fingers close or open, so that a path drawn by a fast hand is gone through as fast as the robot can. On guarded ways it
feels for what is below: set points run ahead of a robot that something holds back, and how far says how hard it pushes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.waypoints import Waypoints
from ksgen_envs.robot.gripper import GripperState
from ksgen_envs.robot.model import DAMP, HOME, MAX_APERTURE, MAX_SPEED, MAX_YAW, MAX_YAW_SPEED, STIFF
from ksgen_models.errors import InvalidInput

PERIOD = 0.04
"""Seconds of one action."""
_REACH = np.array([MAX_SPEED, MAX_SPEED, MAX_SPEED, MAX_YAW_SPEED]) * PERIOD  # of one action
_BEHIND = (0.015, 0.12)  # metres and radians at which the clock waits for the robot
_THERE = (0.003, 0.03)  # the same at the path's end
_PATIENCE = 0.6  # seconds that the clock waits for a robot that comes no nearer, as something holds it back
_NEARER = 0.1  # of `_THERE`: less is no nearer
_STILL = 0.01  # metres a second: fingers slower than this have closed or opened
_GRASP_TIME = (0.16, 0.8)  # seconds that closing and opening are given, at least and at most
_GUARDED_SPEED = 0.06  # metres a second
_TRAVEL = 0.20  # metres above the table, over everything but the tallest towers
_FELT = 4.0  # newtons of pushing down: something is below


class WaypointController:
    """Follows one path.

    Args:
        waypoints: the path; at least one place.
        state: the robot's present state, from which yaws (given up to half turns) are taken the short way round.

    Raises:
        InvalidInput: the path is empty, its shapes or times are wrong, or it is not finite.
    """

    def __init__(self, waypoints: Waypoints, state: GripperState) -> None:
        _check(waypoints)
        self._path = waypoints
        self._yaws = _unwound(waypoints.yaws, state.yaw)
        self._clock = float(waypoints.times[0])
        self._guarded = waypoints.guarded if waypoints.guarded is not None else np.zeros(len(waypoints.times), bool)
        self._shift = np.zeros(3)  # metres, of all places from here on, since something was met early
        self._holding = bool(waypoints.holding[0])
        self._grasping = 0.0  # seconds since the fingers were told to close or open; 0: they have
        self._waited, self._nearest = 0.0, np.inf
        self.done = False
        """Whether the path's end has been reached (or waited for in vain)."""

    def act(self, state: GripperState) -> NDArray[np.float32]:
        """The next action (5,), see `ksgen_envs.goal_env.environment.WorkbenchEnv`."""
        self._tick(state)
        position, yaw, aperture = self._target()
        return action_towards(state, position, yaw, 0.0 if self._holding else aperture)

    def _tick(self, state: GripperState) -> None:
        path = self._path
        if self._grasping > 0.0:
            least, most = _GRASP_TIME
            moving = abs(state.aperture_rate) > _STILL
            waits = self._grasping < least or (moving and self._grasping < most)
            self._grasping = self._grasping + PERIOD if waits else 0.0
            return
        if self._feels(state):
            self._end_early(state)
        limits = _THERE if self._clock >= path.times[-1] else _BEHIND
        if self._behind(state, limits) and self._waits(state):
            return
        if self._clock >= path.times[-1]:
            self.done = True
            return
        self._nearest = np.inf
        # Stop at the next place where the fingers are to close or open.
        after = self._clock + PERIOD * self._pace()
        flips = np.flatnonzero((path.times > self._clock) & (path.times <= after) & (path.holding != self._holding))
        self._clock = float(path.times[flips[0]]) if len(flips) else min(after, float(path.times[-1]))
        if len(flips):
            self._holding, self._grasping = bool(path.holding[flips[0]]), PERIOD

    def _target(self) -> tuple[NDArray[np.float64], float, float]:
        times, clock = self._path.times, self._clock
        position = np.array([np.interp(clock, times, self._path.positions[:, axis]) for axis in range(3)])
        return (
            position + self._shift,
            float(np.interp(clock, times, self._yaws)),
            float(np.interp(clock, times, self._path.apertures)),
        )

    def _heading(self) -> int:
        # Index of the place that the robot is on the way to.
        return min(int(np.searchsorted(self._path.times, self._clock, side="right")), len(self._path.times) - 1)

    def _feels(self, state: GripperState) -> bool:
        # Whether something below holds the robot back on a guarded way; at speed it feels its own inertia.
        heading = self._heading()
        if float(np.linalg.norm(state.velocity)) > 2 * _GUARDED_SPEED:
            return False
        return bool(self._guarded[heading]) and self._clock < self._path.times[heading] and pushing_down(state) > _FELT

    def _end_early(self, state: GripperState) -> None:
        heading = self._heading()
        self._shift = state.position - self._path.positions[heading]
        self._clock = float(self._path.times[heading])

    def _pace(self) -> float:
        # How fast the clock may go: guarded ways are gone slowly.
        heading, path = self._heading(), self._path
        if heading == 0 or not self._guarded[heading]:
            return 1.0
        length = float(np.linalg.norm(path.positions[heading] - path.positions[heading - 1]))
        seconds = float(path.times[heading] - path.times[heading - 1])
        return min(1.0, _GUARDED_SPEED * seconds / max(length, 1e-9))

    def _behind(self, state: GripperState, limits: tuple[float, float]) -> bool:
        return bool(np.any(self._gap(state) > limits))

    def _gap(self, state: GripperState) -> NDArray[np.float64]:
        # (2,) metres and radians from the target.
        position, yaw, _ = self._target()
        return np.array([np.linalg.norm(position - state.position), abs(yaw - state.yaw)])

    def _waits(self, state: GripperState) -> bool:
        # Whether waiting makes sense: the robot comes nearer, or has not long stopped to.
        gap = float((self._gap(state) / _THERE).sum())
        if gap < self._nearest - _NEARER:
            self._nearest, self._waited = gap, 0.0
        else:
            self._waited += PERIOD
        return self._waited < _PATIENCE


def action_towards(
    state: GripperState, position: NDArray[np.float64], yaw: float, aperture: float
) -> NDArray[np.float32]:
    """The action (5,) that brings the set points to a place (3,) metres, a yaw (radians) and an aperture (metres)."""
    asked = np.array([*state.position, state.yaw]) + state.lag
    move = (np.array([*position, yaw]) - asked) / _REACH
    # One scale for x, y and z keeps the direction.
    move[:3] /= max(1.0, float(np.abs(move[:3]).max()))
    return np.clip([*move, 1.0 - 2.0 * aperture / MAX_APERTURE], -1.0, 1.0).astype(np.float32)


def pushing_down(state: GripperState) -> float:
    """Newtons with which the robot pushes down, from how far its set point is below it; about 0 on a free way."""
    return float(DAMP * state.velocity[2] - STIFF * state.lag[2])


def come_over(path: Waypoints, state: GripperState) -> Waypoints:
    """A path with the way to its first place before it: up from where the robot is, across, and then down."""
    first = path.positions[0]
    high = max(_TRAVEL, float(first[2]), float(state.position[2]))
    places = np.array([state.position, [*state.position[:2], high], [*first[:2], high], first])
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
    times = np.concatenate([[0.0], np.cumsum(np.maximum(lengths / (0.9 * MAX_SPEED), PERIOD))])
    count = len(places) - 1
    return Waypoints(
        times=np.concatenate([times[:-1], path.times - path.times[0] + times[-1]]),
        positions=np.concatenate([places[:-1], path.positions]),
        yaws=np.concatenate([[state.yaw], np.full(count - 1, path.yaws[0]), path.yaws]),
        apertures=np.concatenate([[state.aperture], np.full(count - 1, path.apertures[0]), path.apertures]),
        holding=np.concatenate([np.zeros(count, bool), path.holding]),
        guarded=None if path.guarded is None else np.concatenate([np.zeros(count, bool), path.guarded]),
    )


def leave(state: GripperState) -> Waypoints:
    """The way out of the robot's camera's picture: up, and home."""
    up = state.position.copy()
    up[2] = max(up[2], _TRAVEL)
    places = np.stack([state.position, up, np.array(HOME)])
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return Waypoints(
        times=np.concatenate([[0.0], np.cumsum(np.maximum(lengths / (0.9 * MAX_SPEED), PERIOD))]),
        positions=places,
        yaws=np.array([state.yaw, state.yaw, 0.0]),
        apertures=np.full(3, MAX_APERTURE),
        holding=np.zeros(3, bool),
    )


def _unwound(yaws: NDArray[np.float64], start: float) -> NDArray[np.float64]:
    """The same directions, each at most a quarter turn from the one before, within the wrist's reach."""
    unwound = np.empty(len(yaws))
    before = start
    for index, yaw in enumerate(yaws):
        before = float(yaw) + np.pi * round((before - float(yaw)) / np.pi)
        unwound[index] = before
    over = max(float(unwound.max()) - MAX_YAW, 0.0) + min(float(unwound.min()) + MAX_YAW, 0.0)
    return unwound - np.pi * np.sign(over) * np.ceil(abs(over) / np.pi)


def _check(waypoints: Waypoints) -> None:
    count = len(waypoints.times)
    shapes = {
        "times": (count,),
        "positions": (count, 3),
        "yaws": (count,),
        "apertures": (count,),
        "holding": (count,),
    }
    for name, shape in shapes.items():
        value = np.asarray(getattr(waypoints, name))
        if count == 0 or value.shape != shape or not np.isfinite(value).all():
            raise InvalidInput(f"waypoints.{name} has shape {value.shape}; give finite numbers of shape {shape}, N > 0")
    if waypoints.guarded is not None and waypoints.guarded.shape != (count,):
        raise InvalidInput(f"waypoints.guarded has shape {waypoints.guarded.shape}; give booleans of shape {(count,)}")
    if np.any(np.diff(waypoints.times) <= 0):
        raise InvalidInput("waypoints.times must rise from place to place")
