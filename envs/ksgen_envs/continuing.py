"""From a scene in which part of the work is done: are exactly the missing steps planned?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import KSGenError, TaskDone

if TYPE_CHECKING:
    from ksgen_models.types import Plan

PlanFrom = Callable[[NDArray[np.uint8], str], "Plan"]
"""A frame (H, W, 3) and a task → what is left to do; `ksgen_agent.Agent.plan`."""

_THING = re.compile(r"\b([a-z]+ (?:block|ball|cylinder|peg|bin|hole|upright))\b")
_PART = re.compile(r"\b(lower board|upper board|knob|button)\b")
_SHUT = re.compile(r"\b(?:closed?|shut|push)\b")


@dataclass(frozen=True)
class Continued:
    """One scene, some of its work done.

    Attributes:
        env_id, seed: the scene.
        task: what was asked.
        done: steps done in the picture.
        total: steps of the instruction.
        missing: what is left to do, as `meaning` of its sentences.
        planned: what was planned.
        error: the name of the error that was raised instead, or "".
    """

    env_id: str
    seed: int
    task: str
    done: int
    total: int
    missing: tuple[str, ...]
    planned: tuple[str, ...]
    error: str = ""

    @property
    def exact(self) -> bool:
        """Exactly the missing steps are planned; where none is missing, that is said."""
        if not self.missing:
            return self.error == TaskDone.__name__
        return not self.error and Counter(self.planned) == Counter(self.missing)

    @property
    def in_order(self) -> bool:
        """They also have the demonstration's order, which some tasks leave open."""
        return self.exact and self.planned == self.missing


def evaluate_continuing(
    plan: PlanFrom, tasks: Sequence[str], seeds: range, *, most_done: int = 3, all_done: bool = False
) -> Iterator[Continued]:
    """Show each scene with 0 to ``most_done`` of its instruction's steps done and see what is planned.

    How many are done goes round with the seed, and never is all of it.

    Args:
        plan: what is left to do, from a frame and a task.
        tasks: env ids.
        seeds: of the scenes.
        most_done: steps done at most.
        all_done: show all of the work done instead.
    """
    from ksgen_envs.offscreen import first_picture
    from ksgen_envs.workbench import Workbench

    for seed in seeds:
        for env_id in tasks:
            bench = Workbench(env_id, seed)
            instruction = bench.instruction
            steps = instruction.steps
            done = len(steps) if all_done else seed % min(most_done + 1, len(steps))
            frame = first_picture(bench, steps[:done])
            missing = tuple(meaning(step.description) for step in steps[done:])
            planned: tuple[str, ...] = ()
            error = ""
            try:
                planned = tuple(meaning(step) for step in plan(frame, instruction.task).steps)
            except KSGenError as exc:
                error = type(exc).__name__
            yield Continued(env_id, seed, instruction.task, done, len(steps), missing, planned, error)


def meaning(sentence: str) -> str:
    """What a Workbench step asks for, whatever its wording: "green block, red block", "knob", "drawer shut"."""
    said = sentence.lower()
    if things := _THING.findall(said):
        return ", ".join(thing for thing in things if not thing.startswith("the "))
    if (part := _PART.search(said)) and "drawer" not in said:
        return part.group(1)
    return "drawer shut" if _SHUT.search(said) else "drawer open" if "drawer" in said else said
