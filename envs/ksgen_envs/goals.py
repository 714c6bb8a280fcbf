"""What a task asks for: instructions made of step goals, in terms that a hand and a robot can both carry out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verb = Literal["place", "pull", "push", "turn", "press"]


@dataclass(frozen=True)
class Grasp:
    """Where and how a prop is touched, in the frame of the prop's body.

    Attributes:
        point: (3,) metres, half-way between thumb and fingertips (for ``press``: where the index fingertip touches).
        axis: (3,) unit, from thumb to index fingertip; its sign does not matter (for ``press``: the direction pressed).
        width: metres between the finger pads when they hold the prop (for ``press``: 0).
    """

    point: NDArray[np.float64]
    axis: NDArray[np.float64]
    width: float


@dataclass(frozen=True)
class StepGoal:
    """One key step: a prop's joint goes from where it is to ``goal`` by hand.

    Attributes:
        verb: ``place`` moves a free body (lifted over what stands between); ``pull``, ``push``, ``turn`` and ``press``
            move a slide or hinge joint, and the hand follows the body that hangs on it.
        description: the step's sentence, in one of its wordings.
        target: name of the object that moves, as one would say it ("red block").
        body: MJCF name of the body that is touched.
        joint: MJCF name of the joint that moves.
        grasp: where the body is touched.
        goal: the joint's qpos when the step is done: (7,) for a free joint, else (1,).
        carried: MJCF names of free joints that ride along rigidly with ``body`` (what lies in a drawer that closes).
        support: MJCF name of the body that the target rests on or in when done; empty for the table.
        offset: (3,) metres, the target's centre relative to the centre of ``support`` when done, world axes; None
            where success does not depend on it.
    """

    verb: Verb
    description: str
    target: str
    body: str
    joint: str
    grasp: Grasp
    goal: NDArray[np.float64]
    carried: tuple[str, ...] = ()
    support: str = ""
    offset: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Instruction:
    """A task said in words, with the steps that carry it out from the scene's start.

    Attributes:
        task: one wording.
        steps: in order.
        explicit: whether the words name every thing to be moved, in the order of the steps; where they do not ("sort
            the objects"), another order would do as they say, too.
    """

    task: str
    steps: tuple[StepGoal, ...]
    explicit: bool = True
