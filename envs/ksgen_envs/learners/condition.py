"""What a policy is told to do: the environment's own goal, or a subgoal's hand.

The condition ``"subgoal"`` is the same for every imaginer, true or not: it is made of the arrays that `SubgoalWrapper`
puts into the observation, and of the camera's calibration, which a robot has. From the keypoints come two frames, in
which the hand has taken hold and is about to let go, and of each the ray from the camera through the pinch. Rays and
not points, since one camera does not tell the hand's depth (docs/executors.md); a ray is a line, so a policy that
knows how high a thing lies knows how far it is from where the hand points.

========================  ===  =========================================================================
field                     n    meaning
========================  ===  =========================================================================
``subgoal``               1    1 where there is a subgoal
``hand``                  1    1 where its hand can be read; below 0 where not
``grasp``                 4    x and y of the grasp's ray at `LOW`, then at `HIGH` over the table, metres
``release``               4    the same of the release's ray
``grasp yaw``             2    cosine and sin of twice the direction from thumb to fingers
``release yaw``           2    the same at the release
``index``, ``left``       2    key steps before this one, and key steps from it to the plan's end, over 8
========================  ===  =========================================================================

The condition ``"goal"`` is the key step's verb (5, one-hot), ``desired_goal`` (22) and ``achieved_goal`` (22).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.contact import slow_frames
from ksgen_envs.executors.hand_pose import HandPath
from ksgen_envs.executors.sight import Sight
from ksgen_envs.goal_env.goals import GOAL_SIZE
from ksgen_models.errors import NoHandFound
from ksgen_models.types import HAND_KEYPOINTS

Kind = Literal["goal", "subgoal"]
Floats = NDArray[np.float32]

LOW, HIGH = 0.02, 0.12
"""Metres over the table at which rays are given."""
VERB_SIZE = 5
SUBGOAL, HAND = 0, 1
GRASP, RELEASE = slice(2, 6), slice(6, 10)
YAWS = slice(10, 14)
CONDITION_SIZE: dict[Kind, int] = {"goal": VERB_SIZE + 2 * GOAL_SIZE, "subgoal": 16}
SUBGOAL_KEYS = ("embedding", "keypoints", "keypoints_valid", "index", "total")
"""What of a subgoal `read_subgoal` looks at, and the sentence's embedding."""
_PLAN = 8.0
_FARTHEST = 2.0  # metres; a ray that meets the table farther off points nowhere


def read_goal(observation: Mapping[str, NDArray[Any]]) -> Floats:
    """(49,) the condition ``"goal"`` from a Workbench environment's observation with its state."""
    state = observation["observation"]
    verb = state[-1 - VERB_SIZE : -1]
    return np.concatenate([verb, observation["desired_goal"], observation["achieved_goal"]]).astype(np.float32)


def no_subgoal() -> Floats:
    """(16,) zeros: there is none."""
    return np.zeros(CONDITION_SIZE["subgoal"], np.float32)


def read_subgoal(observation: Mapping[str, NDArray[Any]], sight: Sight) -> Floats:
    """(16,) the condition ``"subgoal"``.

    Args:
        observation: of a `SubgoalWrapper` with the keys `SUBGOAL_KEYS`.
        sight: the camera that took the frame that was imagined from.
    """
    condition = no_subgoal()
    if not observation["subgoal_valid"][0]:
        return condition
    index, total = (int(observation[f"subgoal_{name}"][0]) for name in ("index", "total"))
    condition[SUBGOAL] = 1.0
    condition[-2:] = index / _PLAN, (total - index) / _PLAN
    hand = _working_hand(observation["subgoal_keypoints"], observation["subgoal_keypoints_valid"].astype(bool))
    try:
        held, let_go = slow_frames(hand)
    except NoHandFound:
        return condition
    yaws = hand.yaw(sight)
    read = [*_ray(hand, held, sight), *_ray(hand, let_go, sight)]
    for yaw in (yaws[held], yaws[let_go]):
        read += [np.cos(2 * yaw), np.sin(2 * yaw)]
    if np.isfinite(read).all() and np.abs(read).max() < _FARTHEST:
        condition[HAND] = 1.0
        condition[GRASP.start : YAWS.stop] = read
    return condition


def _working_hand(keypoints: NDArray[np.float32], valid: NDArray[np.bool_]) -> HandPath:
    # The hand that is seen in more frames; only its place in the picture is used.
    slot = int(valid.sum(axis=0).argmax())
    image = np.where(valid[:, slot, None, None], keypoints[:, slot, :, :2], np.nan).astype(np.float64)  # (T, 21, 2)
    nowhere = np.full((len(image), HAND_KEYPOINTS, 3), np.nan)
    return HandPath(slot, valid[:, slot], nowhere, image, depth_known=False)


def _ray(hand: HandPath, frame: int, sight: Sight) -> list[float]:
    pinch = hand.pinch_image[frame]
    return [float(number) for height in (LOW, HIGH) for number in sight.at_height(pinch, height)[:2]]
