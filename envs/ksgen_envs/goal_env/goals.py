"""Goals as vectors: what ``achieved_goal`` and ``desired_goal`` mean, and the rewards that follow from the two alone.

Both have `GOAL_SIZE` numbers and the same fields, in this order:

=============  ===  ====================================================================================
field          n    meaning
=============  ===  ====================================================================================
``thing``      6    one-hot: which slot (`ksgen_envs.goal_env.observation`) the key step is about
``position``   3    world position of the thing; desired: the middle of where it may be. Metres
``joint``      1    value of the step's slide (metres) or hinge (radians); 0 for ``place``
``upright``    1    cosine of the thing's tilt
``unsettled``  1    1 while the gripper touches the thing or it moves, else 0; desired: 0
``reach``      1    metres from the tool point to the thing; only the dense reward looks at it; desired: 0
``heading``    2    cosine and sin of the turn of the region that the position's tolerances belong to
``tolerance``  6    of position x, y and z, joint, upright and unsettled; `ANY` where it does not matter
``round``      1    1: x and y together may miss by ``tolerance`` x (a disc), 0: each by its own (a box)
=============  ===  ====================================================================================

The last three describe what counts as there and are the same in achieved and desired, so that hindsight relabelling,
which makes an achieved goal the desired one, asks for the same care about the same thing. Where a relabelled goal is
about another thing than the achieved one, it is not reached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOTS = 6
THING = slice(0, 6)
POSITION = slice(6, 9)
JOINT, UPRIGHT, UNSETTLED, REACH = 9, 10, 11, 12
HEADING = slice(13, 15)
TOLERANCE = slice(15, 21)
ROUND = 21
GOAL_SIZE = 22

ANY = 10.0
"""A tolerance that everything keeps."""
FARTHEST = 1.0
"""The dense reward's limit, metres."""

_UP_WEIGHT, _SETTLED_WEIGHT, _REACH_WEIGHT = 0.05, 0.01, 0.25
_JOINT_WEIGHT = 0.01
"""Metres for each tolerance that the joint is away."""

Floats = NDArray[np.floating[Any]]


def reached(achieved: Floats, desired: Floats) -> NDArray[np.bool_]:
    """(...) bool: whether achieved goals (..., 22) are where the desired goals (..., 22) say."""
    tolerance = desired[..., TOLERANCE]
    x, y, z = _miss(achieved, desired)
    flat = np.sqrt(x * x + y * y)
    spot = np.where(
        desired[..., ROUND] > 0.5,
        flat <= tolerance[..., 0],
        (np.abs(x) <= tolerance[..., 0]) & (np.abs(y) <= tolerance[..., 1]),
    )
    near = (np.abs(z) <= tolerance[..., 2]) & np.all(_gaps(achieved, desired) <= tolerance[..., 3:6], axis=-1)
    return _same_thing(achieved, desired) & spot & near


def sparse_reward(achieved: Floats, desired: Floats) -> NDArray[np.float64]:
    """(...) 0 where reached, else −1."""
    return np.where(reached(achieved, desired), 0.0, -1.0)


def dense_reward(achieved: Floats, desired: Floats) -> NDArray[np.float64]:
    """(...) in [−1, 0]: 0 where reached, else less the farther the thing is from its goal and the gripper from it."""
    tolerance = desired[..., TOLERANCE]
    x, y, z = _miss(achieved, desired)
    matters = tolerance < ANY
    gaps = _gaps(achieved, desired)
    away = (
        np.sqrt(x * x + y * y + z * z) * matters[..., 0]
        + _JOINT_WEIGHT * gaps[..., 0] / tolerance[..., 3] * matters[..., 3]
        + _UP_WEIGHT * gaps[..., 1] * matters[..., 4]
        + _SETTLED_WEIGHT * gaps[..., 2] * matters[..., 5]
        + _REACH_WEIGHT * np.abs(achieved[..., REACH]).astype(np.float64)
    )
    away = np.where(_same_thing(achieved, desired), np.minimum(away, FARTHEST), FARTHEST)
    return np.where(reached(achieved, desired), 0.0, -away)


def _miss(achieved: Floats, desired: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    # Along the region's own axes; written out element by element, so that one goal and a batch round alike.
    off = achieved[..., POSITION].astype(np.float64) - desired[..., POSITION]
    heading = desired[..., HEADING].astype(np.float64)
    cos, sin = heading[..., 0], heading[..., 1]
    return cos * off[..., 0] + sin * off[..., 1], cos * off[..., 1] - sin * off[..., 0], off[..., 2]


def _gaps(achieved: Floats, desired: Floats) -> NDArray[np.float64]:
    # Of joint, upright and unsettled, (..., 3).
    return np.abs(achieved[..., JOINT:REACH].astype(np.float64) - desired[..., JOINT:REACH])


def _same_thing(achieved: Floats, desired: Floats) -> NDArray[np.bool_]:
    return np.all(achieved[..., THING] == desired[..., THING], axis=-1)
