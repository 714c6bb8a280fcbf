"""Which key step of an instruction is to be done now."""

from __future__ import annotations

from collections.abc import Callable

from ksgen_envs.goals import StepGoal


class Progress:
    """Goes through key steps in order.

    The present step is the first that has not been done yet. When all have been, and what an early one did was spoilt
    by a later one (a tower knocked over), it is the first whose result is no longer there.

    Args:
        steps: to be done.
        there: tells whether a step's result is there.
        holds: tells whether it is there and at rest (what lies in a drawer that is being closed is there only).
    """

    def __init__(
        self, steps: tuple[StepGoal, ...], there: Callable[[StepGoal], bool], holds: Callable[[StepGoal], bool]
    ) -> None:
        self._steps, self._there, self._holds = steps, there, holds
        self._done: set[int] = set()
        self.index = 0
        """Of the present step."""

    @property
    def step(self) -> StepGoal:
        """The present step."""
        return self._steps[self.index]

    @property
    def steps_done(self) -> int:
        """How many steps were done at some time."""
        return len(self._done)

    @property
    def share(self) -> float:
        """The share of steps done, in [0, 1]."""
        return len(self._done) / len(self._steps)

    def look(self) -> tuple[bool, bool]:
        """Whether the present step is done, and whether with it all that is to last is."""
        if not self._holds(self.step):
            return False, False
        self._done.add(self.index)
        return True, len(self._done) == len(self._steps) and self._first_without(self._holds) is None

    def advance(self) -> None:
        """Turn to the next step if the present one has been done."""
        if self.index not in self._done:
            return
        waiting = [index for index in range(len(self._steps)) if index not in self._done]
        broken = None if waiting else self._first_without(self._there)
        if waiting:
            self.index = waiting[0]
        elif broken is not None:
            self.index = broken

    def _first_without(self, kept: Callable[[StepGoal], bool]) -> int | None:
        # What a later step moves again (a drawer that is opened and closed) need not last.
        for index, step in enumerate(self._steps):
            lasts = all(later.joint != step.joint for later in self._steps[index + 1 :])
            if lasts and not kept(step):
                return index
        return None
