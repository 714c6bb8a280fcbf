"""Moves in which the robot yields to what it touches, so that it need not know exactly where that is.

Things on rails and axles lead the hand that moves them. The set point of a yielding direction is where the robot is:
nothing is pushed there, and whatever pushes the robot moves it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.controller import action_towards
from ksgen_envs.executors.sight import Array
from ksgen_envs.robot.gripper import GripperState
from ksgen_envs.robot.model import STIFF

Act = Callable[[NDArray[np.float32]], GripperState]
"""Does one action (5,) and gives the state after it."""

_CLOSING = (6, 25)  # actions that fingers are given to close, at least and at most
_STILL = 0.01  # metres a second
_PULL = 14.0  # newtons along the way
_LEAD = 0.02  # metres a second: faster, the robot is led, and its way becomes the way it goes
_LED = 0.2  # of a new direction, each action
_STALLS, _STALLED = 6, 0.0005  # actions, and metres an action, after which something does not go on
_STRIDE = 0.06  # radians an action
_STOP = 0.10  # radians by which the wrist is held back at a stop


def close_on(act: Act, state: GripperState) -> GripperState:
    """Close the fingers and yield along the line from pad to pad, so that both come to rest on what stands fast."""
    start, yaw = state.position.copy(), state.yaw
    across = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    least, most = _CLOSING
    for count in range(most):
        state = act(action_towards(state, start + across * float((state.position - start) @ across), yaw, 0.0))
        if count >= least and abs(state.aperture_rate) < _STILL:
            break
    return state


def draw(act: Act, state: GripperState, way: Array, most: float) -> GripperState:
    """Pull or push, with closed fingers, along a way that what is moved decides, until it goes no farther.

    Args:
        act: drives the robot.
        state: where it is.
        way: (2,) about the direction, of unit length.
        most: metres.
    """
    start, yaw, stalls = state.position.copy(), state.yaw, 0
    travelled = 0.0
    while travelled < most and stalls < _STALLS:
        place = state.position + np.array([*(way * _PULL / STIFF), 0.0])
        place[2] = start[2]
        state = act(action_towards(state, place, yaw, 0.0))
        speed = float(np.linalg.norm(state.velocity[:2]))
        if speed > _LEAD and float(state.velocity[:2] @ way) > 0.0:
            way = way + _LED * (state.velocity[:2] / speed - way)
            way = way / np.linalg.norm(way)
        gone = float((state.position - start)[:2] @ way)
        stalls = 0 if gone > travelled + _STALLED else stalls + 1
        travelled = max(travelled, gone)
    return state


def turn(act: Act, state: GripperState, by: float) -> GripperState:
    """Turn what is held by radians or up to its stop, and yield across: its axle leads."""
    height, begun = float(state.position[2]), state.yaw
    asked, held_back = begun, 0
    while held_back < _STALLS and abs(state.yaw - begun) < abs(by):
        asked = state.yaw + np.copysign(2 * _STRIDE, by)
        before = state.yaw
        state = act(action_towards(state, np.array([*state.position[:2], height]), asked, 0.0))
        held_back = held_back + 1 if abs(state.yaw - before) < _STOP * _STRIDE else 0
    return state
