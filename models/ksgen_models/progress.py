"""How far a piece of work has come: verdicts on its steps, and what follows from them.

A verdict comes from one picture, so it is "done" or "not done". "Undone" is said of a step that was done in an earlier
picture and is not any more: `since` compares two verifications of the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ksgen_models.errors import InvalidInput, TaskDone
from ksgen_models.types import Plan

State = Literal["done", "not done", "undone"]
_MOST_SETS = 10
DONE_FROM = 0.5
"""Least probability with which a step counts as done."""
LEFT_OUT_FROM = 0.7
"""Least probability with which a step is left out of a plan: one too few costs more than one too many."""
TRIED_AGAIN_TO = 0.3
"""Greatest probability with which a step that was tried is tried again: doing it twice may spoil what was done."""


@dataclass(frozen=True)
class StepVerdict:
    """What a picture shows of one step.

    Attributes:
        step: the sentence.
        state: ``"done"``, ``"not done"`` or ``"undone"``.
        confidence: in [0, 1], probability that the state is right.
        done: in [0, 1], probability that the step has been done.
        seen: in [0, 1], probability that the things which the sentence names are in the picture.
    """

    step: str
    state: State
    confidence: float
    done: float
    seen: float

    @classmethod
    def of(cls, step: str, done: float, seen: float) -> StepVerdict:
        """The verdict that two probabilities make."""
        is_done = done >= DONE_FROM
        return cls(step, "done" if is_done else "not done", done if is_done else 1.0 - done, done, seen)


def weighed_in_order(done: Sequence[float], in_order: float = 0.9) -> tuple[float, ...]:
    """Probabilities that steps are done, given that work is mostly done in the plan's order.

    Steps judged one by one may make a set that hardly ever occurs: the third done, the second not. Each set of done
    steps is weighed by how likely it is beforehand; the sets that begin a plan share ``in_order``, all others the rest
    ("sort everything" leaves the order open).

    Args:
        done: probability of each step, judged alone, in [0, 1].
        in_order: in (0, 1].

    Returns:
        Probability of each step, over all sets; of plans of more than ten steps, over those that begin the plan.
    """
    number = len(done)
    likely = np.clip(np.array(done, np.float64), 1e-4, 1 - 1e-4)
    beginnings = np.tri(number + 1, number, -1, dtype=bool)  # row k: the first k are done
    sets, prior = beginnings, np.full(number + 1, in_order / (number + 1))
    if 1 < number <= _MOST_SETS and in_order < 1:
        every = (np.arange(2**number)[:, None] >> np.arange(number)) % 2 == 1
        others = every[~(every[:, None] == beginnings).all(-1).any(-1)]
        sets = np.concatenate([beginnings, others])
        prior = np.append(prior, np.full(len(others), (1 - in_order) / len(others)))
    weight = prior * np.where(sets, likely, 1 - likely).prod(axis=1)
    return tuple((weight @ sets / weight.sum()).tolist())


def since(before: Sequence[StepVerdict], now: Sequence[StepVerdict]) -> tuple[StepVerdict, ...]:
    """The present verdicts, with "undone" for steps that were done before and are not any more.

    The confidence in "undone" is that in both pictures: the product of the two.

    Raises:
        InvalidInput: they are about different steps.
    """
    if [one.step for one in before] != [one.step for one in now]:
        raise InvalidInput("verdicts can be compared where they are about the same steps, in the same order")
    return tuple(
        replace(new, state="undone", confidence=old.done * new.confidence)
        if old.state == "done" and new.state == "not done"
        else new
        for old, new in zip(before, now, strict=True)
    )


def left_to_do(plan: Plan, verdicts: Sequence[StepVerdict]) -> Plan:
    """The plan without the steps that the frame surely shows as done, which go to `Plan.done`.

    Args:
        plan: the whole procedure.
        verdicts: one for each of its steps.

    Raises:
        TaskDone: every step is done.
    """
    missing = tuple(verdict.step for verdict in verdicts if verdict.done < LEFT_OUT_FROM)
    if not missing:
        raise TaskDone(plan.task, plan.steps, min(verdict.done for verdict in verdicts))
    return replace(plan, steps=missing, done=tuple(one.step for one in verdicts if one.done >= LEFT_OUT_FROM))
