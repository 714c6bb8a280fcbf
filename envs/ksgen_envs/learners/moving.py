"""Episodes moved about on the table: turned and shifted with everything in them, they are episodes as good as before.

What the expert does depends on where things are to each other and to the robot, hardly on where on the table that is.
So each step of an episode is shown from a little elsewhere every time it is drawn, as pictures are in recognition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ksgen_envs.goal_env import goals
from ksgen_envs.learners import condition as c

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Moves:
    """How far scenes are moved.

    Attributes:
        turn: radians, at most, about the middle of the things.
        shift: metres, standard deviation of x and y.
    """

    turn: float = 0.6
    shift: float = 0.04


def moved(inputs: Inputs, actions: Tensor, how: Moves, generator: torch.Generator) -> tuple[Inputs, Tensor]:
    """A batch of inputs (B, ...) and actions (B, K, 5), each scene moved; as it is where the policy sees pictures."""
    if "pixels" in inputs:
        return inputs, actions
    count = len(actions)
    angle = how.turn * (2 * torch.rand(count, generator=generator) - 1)
    shift = how.shift * torch.randn(count, 2, generator=generator)
    robot, slots, condition = (inputs[name].clone() for name in ("robot", "slots", "condition"))
    there = slots[..., :1]
    middle = (slots[..., 1:3] * there).sum(1) / there.sum(1).clamp(min=1)  # (B, 2)

    def place(points: Tensor) -> Tensor:
        return _turned(points - _spread(middle, points), angle) + _spread(middle + shift, points)

    robot[:, 0:2] = place(robot[:, 0:2])
    robot[:, 3] += angle
    robot[:, 4:6] = _turned(robot[:, 4:6], 2 * angle)  # the yaw's double: a gripper turned by half a turn is the same
    for vector in (slice(7, 9), slice(12, 14)):  # velocity, lag
        robot[:, vector] = _turned(robot[:, vector], angle)
    slots[..., 1:3] = place(slots[..., 1:3]) * there
    for vector in (slice(4, 6), slice(11, 13)):  # from the tool point, velocity
        slots[..., vector] = _turned(slots[..., vector], angle)
    slots[..., 7:11] = _quaternion_turned(slots[..., 7:11], angle) * there
    if condition.shape[-1] == c.CONDITION_SIZE["subgoal"]:
        for ray in (c.GRASP, c.RELEASE):
            condition[:, ray] = place(condition[:, ray].unflatten(-1, (2, 2))).flatten(1)
        condition[:, c.HAND + 1 : c.RELEASE.stop] *= condition[:, c.HAND, None] > 0.5
    else:
        for start in (c.VERB_SIZE, c.VERB_SIZE + goals.GOAL_SIZE):
            goal = condition[:, start : start + goals.GOAL_SIZE]
            goal[:, goals.POSITION][:, :2] = place(goal[:, goals.POSITION][:, :2])
            goal[:, goals.HEADING] = _turned(goal[:, goals.HEADING], angle)
    actions = torch.cat([_turned(actions[..., :2], angle), actions[..., 2:]], dim=-1)
    return {**inputs, "robot": robot, "slots": slots, "condition": condition}, actions


def _turned(vectors: Tensor, angle: Tensor) -> Tensor:
    """(B, ..., 2) turned by (B,) radians."""
    cosine, sine = (_spread(value[:, None], vectors)[..., 0] for value in (angle.cos(), angle.sin()))
    x, y = vectors.unbind(-1)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(B, C) with axes of one in between, to be added to (B, ..., C)."""
    return values.reshape(len(values), *[1] * (like.ndim - 2), values.shape[-1])


def _quaternion_turned(q: Tensor, angle: Tensor) -> Tensor:
    """(B, S, 4) (w, x, y, z), w ≥ 0, turned about the vertical."""
    w, z = (angle / 2).cos()[:, None], (angle / 2).sin()[:, None]
    a, b, c_, d = q.unbind(-1)
    made = torch.stack([w * a - z * d, w * b - z * c_, w * c_ + z * b, w * d + z * a], dim=-1)
    return torch.where(made[..., :1] < 0, -made, made)
