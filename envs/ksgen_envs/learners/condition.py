"""What a policy is told to do: the environment's own goal, or a subgoal's hand.

The condition ``"subgoal"`` is the same for every imaginer, true or not: it is made of the arrays that `SubgoalWrapper`
puts into the observation, and of the camera's calibration, which a robot has. From the keypoints come two places, where
the hand stands stillest in the first half of the frames that show it (it takes hold) and in the second (it is about to
let go), and of each the ray from the camera through the pinch. Rays and
not points, since one camera does not tell the hand's depth (docs/executors.md); a ray is a line, so a policy that
knows how high a thing lies knows how far it is from where the hand points. Which way the hand is turned is left out: a
gripper takes hold as the thing allows.

========================  ===  =========================================================================
field                     n    meaning
========================  ===  =========================================================================
``subgoal``               1    1 where there is a subgoal
``hand``                  1    1 where its hand can be read; below 0 where not
``grasp``                 4    x and y of the grasp's ray at `LOW`, then at `HIGH` over the table, metres
``release``               4    the same of the release's ray
``index``, ``left``       2    key steps before this one, and key steps from it to the plan's end, over 8
========================  ===  =========================================================================

The condition ``"goal"`` is the key step's verb (5, one-hot), ``desired_goal`` (22) and ``achieved_goal`` (22).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.hand_pose import HandPath
from ksgen_envs.executors.sight import Sight
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.goal_env.goals import GOAL_SIZE
from ksgen_envs.goals import StepGoal
from ksgen_models.types import HAND_KEYPOINTS

Kind = Literal["goal", "subgoal"]
Floats = NDArray[np.float32]

LOW, HIGH = 0.02, 0.12
"""Metres over the table at which rays are given."""
VERB_SIZE = 5
SUBGOAL, HAND = 0, 1
GRASP, RELEASE = slice(2, 6), slice(6, 10)
CONDITION_SIZE: dict[Kind, int] = {"goal": VERB_SIZE + 2 * GOAL_SIZE, "subgoal": 12}
SUBGOAL_KEYS = ("embedding", "keypoints", "keypoints_valid", "index", "total")
"""What of a subgoal `read_subgoal` looks at, and the sentence's embedding."""
_PLAN = 8.0
_FEWEST = 6  # frames that must show the hand, three for each half of what it does
_FARTHEST = 2.0  # metres; a ray that meets the table farther off points nowhere


def read_goal(observation: Mapping[str, NDArray[Any]]) -> Floats:
    """(49,) the condition ``"goal"`` from a Workbench environment's observation with its state."""
    state = observation["observation"]
    verb = state[-1 - VERB_SIZE : -1]
    return np.concatenate([verb, observation["desired_goal"], observation["achieved_goal"]]).astype(np.float32)


def no_subgoal() -> Floats:
    """(12,) zeros: there is none."""
    return np.zeros(CONDITION_SIZE["subgoal"], np.float32)


def read_subgoal(observation: Mapping[str, NDArray[Any]], sight: Sight) -> Floats:
    """(12,) the condition ``"subgoal"``.

    Args:
        observation: of a `SubgoalWrapper` with the keys `SUBGOAL_KEYS`.
        sight: the camera that took the frame that was imagined from.
    """
    condition = no_subgoal()
    if not observation["subgoal_valid"][0]:
        return condition
    index, total = (int(observation[f"subgoal_{name}"][0]) for name in ("index", "total"))
    _begin(condition, index, total)
    hand = _working_hand(observation["subgoal_keypoints"], observation["subgoal_keypoints_valid"].astype(bool))
    seen = np.flatnonzero(hand.valid)
    if len(seen) < _FEWEST:
        return condition
    halves = np.array_split(hand.pinch_image[seen], 2)
    read = [number for half in halves for number in _ray(_stillest(half), sight)]
    if np.isfinite(read).all() and np.abs(read).max() < _FARTHEST:
        condition[HAND] = 1.0
        condition[GRASP.start : RELEASE.stop] = read
    return condition


def read_truth(env: WorkbenchEnv, sight: Sight) -> Floats:
    """(12,) the condition ``"subgoal"`` of the present key step, from the simulator instead of a hand.

    Where a hand would hold the thing that moves, as it is now and where it is to be. Costs nothing to speak of, while a
    demonstration's hand has to be posed; call when the key step begins.
    """
    condition, steps, goal = no_subgoal(), env.instruction.steps, env.key_step
    _begin(condition, next(index for index, step in enumerate(steps) if step is goal), len(steps))
    after = mujoco.MjData(env.model)
    after.qpos[:] = env.data.qpos
    after.joint(goal.joint).qpos[:] = goal.goal
    mujoco.mj_kinematics(env.model, after)
    condition[HAND] = 1.0
    held, let_go = (_point(goal, data) for data in (env.data, after))
    condition[GRASP], condition[RELEASE] = (_ray(sight.project(point), sight) for point in (held, let_go))
    return condition


def _begin(condition: Floats, index: int, total: int) -> None:
    condition[SUBGOAL] = 1.0
    condition[-2:] = index / _PLAN, (total - index) / _PLAN


def _point(goal: StepGoal, data: Any) -> NDArray[np.float64]:
    body = data.body(goal.body)
    return body.xpos + body.xmat.reshape(3, 3) @ goal.grasp.point


def _working_hand(keypoints: NDArray[np.float32], valid: NDArray[np.bool_]) -> HandPath:
    # The hand that is seen in more frames; only its place in the picture is used.
    slot = int(valid.sum(axis=0).argmax())
    image = np.where(valid[:, slot, None, None], keypoints[:, slot, :, :2], np.nan).astype(np.float64)  # (T, 21, 2)
    nowhere = np.full((len(image), HAND_KEYPOINTS, 3), np.nan)
    return HandPath(slot, valid[:, slot], nowhere, image, depth_known=False)


def _stillest(places: NDArray[np.float64]) -> NDArray[np.float64]:
    # (2,) where the hand stands, of (N, 2): a tracker's slips and a hand that is passing are the middle of no three
    # places near each other.
    threes = np.stack([places[:-2], places[1:-1], places[2:]])  # (3, N - 2, 2)
    spread = np.linalg.norm(np.diff(threes, axis=0), axis=-1).sum(axis=0)
    return np.median(threes[:, int(spread.argmin())], axis=0)


def _ray(pinch: NDArray[np.floating[Any]], sight: Sight) -> list[float]:
    return [float(number) for height in (LOW, HIGH) for number in sight.at_height(pinch, height)[:2]]
