"""What a task makes: props in their places, and instructions for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.props.base import Loose, Pose, Prop


@dataclass(frozen=True)
class Scene:
    """A sampled scene.

    Attributes:
        props: everything on the table.
        instructions: different things to do with it, the default one first; no two begin with the same target.
    """

    props: tuple[Prop, ...]
    instructions: tuple[Instruction, ...]


def place(prop: Loose, goal: Pose, description: str, *, support: Prop, offset: np.ndarray | None) -> StepGoal:
    """The step that puts a loose prop at ``goal``, on or in ``support``."""
    return StepGoal(
        verb="place",
        description=description,
        target=prop.name,
        body=prop.body,
        joint=prop.joint,
        grasp=prop.grasp,
        goal=goal,
        support=support.body,
        offset=offset,
    )


def default_first(instructions: list[Instruction], default: int) -> tuple[Instruction, ...]:
    """Move one to the front and drop those that begin with the target of an earlier one."""
    ordered = [instructions[default], *instructions[:default], *instructions[default + 1 :]]
    firsts: set[str] = set()
    kept: list[Instruction] = []
    for instruction in ordered:
        if instruction.steps[0].target not in firsts:
            firsts.add(instruction.steps[0].target)
            kept.append(instruction)
    return tuple(kept)
