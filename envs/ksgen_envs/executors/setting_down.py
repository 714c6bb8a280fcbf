"""How a robot lets itself be told by touch where a picture was not exact: fitting in.

A guarded way (`Waypoints.guarded`) ends where the carried thing touches something. What is to stand on something is let
go there; what is to be fitted into something has to be moved about until it gives way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.controller import PERIOD, action_towards
from ksgen_envs.executors.sight import Array
from ksgen_envs.robot.gripper import GripperState
from ksgen_envs.robot.model import STIFF

Act = Callable[[NDArray[np.float32]], GripperState]
"""Does one action (5,) and gives the state after it."""

_PRESS = 2.5  # newtons of pushing down while it seeks
_GIVES_WAY = 0.003  # metres that it comes down where it fits
_QUICK, _SLOWLY = 12, 20  # actions in which it does, without and with swaying; fingers creep slower
_STANDS_IN = 0.007  # metres that the set point runs ahead across: it is in already, and held there
_SWEEP, _ROW = 0.010, 0.002  # metres: half a sweep, and from sweep to sweep
_SPEED, _SLOW = 0.012, 0.007  # metres a second of a sweep: slow enough to fall in, and between two turns of the wrist
_SWAY, _SWAYS = 0.20, 1.5  # radians to either side, and times a second


def seek(act: Act, state: GripperState, yaw: float, *, sways: bool) -> tuple[GripperState, bool]:
    """Push down lightly and move a held thing about until it gives way.

    Sweeps along the line from pad to pad, at growing distances to both sides of where it begins. Fingers creep
    along what they press down: the shorter the search the better, so the wrist sways for things only that ask for it.

    Args:
        act: drives the robot.
        state: where it touches; the fingers hold the thing.
        yaw: radians, of the gripper.
        sways: the wrist sways, and the sweeps are slower: for what fits at one yaw only.

    Returns:
        The state, and whether the thing gave way; if not, the robot is back where it began.
    """
    start = state.position.copy()
    within = _SLOWLY if sways else _QUICK
    heights = [float(start[2])] * within
    for offset, sway in _sweeps(yaw, sways):
        place = start + offset
        place[2] = state.position[2] - _PRESS / STIFF
        state = act(action_towards(state, place, yaw + sway, 0.0))
        heights.append(float(state.position[2]))
        if heights[-1] < heights[-1 - within] - _GIVES_WAY:
            return state, True
        if float(np.linalg.norm(state.lag[:2])) > _STANDS_IN:
            break
    for _ in range(round(0.4 / PERIOD)):
        state = act(action_towards(state, start, yaw, 0.0))
    return state, False


def _sweeps(yaw: float, sways: bool) -> Iterator[tuple[Array, float]]:
    # Offsets (3,) across the table and turns of the wrist, an action each.
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    beside = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    counts = range(1, round(_SWEEP / _ROW) + 1)
    rows = [0.0, 0.0, *(side * count * _ROW for count in counts for side in (1, -1))]
    ends = [_SWEEP if index % 2 == 0 else -_SWEEP for index in range(len(rows))]
    # Across to the next row, then along it.
    corners = [(x, row) for at, end, row in zip([0.0, *ends], ends, rows, strict=False) for x in (at, end)]
    stride, sway = (_SLOW * PERIOD, _SWAY) if sways else (_SPEED * PERIOD, 0.0)
    place, seconds = np.zeros(2), 0.0
    for corner in np.array(corners):
        while float(np.linalg.norm(corner - place)) > 1e-9:
            way = corner - place
            place = place + way * min(1.0, stride / float(np.linalg.norm(way)))
            seconds += PERIOD
            yield place[0] * along + place[1] * beside, sway * float(np.sin(2 * np.pi * _SWAYS * seconds))
