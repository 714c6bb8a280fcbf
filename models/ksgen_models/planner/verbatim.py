"""The planner of somebody who has a plan already: what it is told are the key steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.planner.words import checked_task
from ksgen_models.types import Plan


class VerbatimPlanner:
    """A planner that satisfies `ksgen_models.interfaces.Planner` and adds nothing.

    A robot that carries out a plan imagines each key step anew from what it sees, and asks for that key step alone. A
    planner that looks for a task behind the sentence would plan what has been done already.
    """

    source = "verbatim"
    as_told = True
    """No step is left out, though the frame may show it as done."""

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        """The key steps that ``task`` names, in its own words, set off by semicolons.

        Raises:
            InvalidTask: the task says nothing.
        """
        said = checked_task(task)
        steps = tuple(part.strip() for part in said.split(";") if part.strip())
        return Plan(said, steps, 1.0, self.source)
