"""One environment's plan: which key step is next, and is the work behind?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_envs.subgoals.imagining import Ticket
from ksgen_envs.subgoals.layout import VALID, Arrays, SubgoalLayout
from ksgen_envs.subgoals.verify import StepVerifier, StepView
from ksgen_models.errors import InvalidInput, SubgoalTimeout
from ksgen_models.types import KeyStep

log = logging.getLogger("ksgen_envs.subgoals")

Fallback = Literal["none", "last", "raise"]


@dataclass(frozen=True)
class Rules:
    """When to imagine anew, and what to do without an imagination.

    Attributes:
        step_limit: environment steps that a key step may take before the work counts as behind; None: any number.
        max_reimaginations: re-imaginations in an episode at most.
        verify_every: environment steps from one check of the verifier to the next.
        fallback: without an imagination at reset, ``"none"``: no subgoal; ``"last"``: the plan of the episode before
            where it was for the same task; ``"raise"``: raise the error.
    """

    step_limit: int | None = None
    max_reimaginations: int = 3
    verify_every: int = 1
    fallback: Fallback = "none"

    def __post_init__(self) -> None:
        if self.step_limit is not None and self.step_limit < 1:
            raise InvalidInput(f"step_limit is {self.step_limit}; pass None or at least 1")
        if self.max_reimaginations < 0:
            raise InvalidInput(f"max_reimaginations is {self.max_reimaginations}; pass at least 0")
        if self.verify_every < 1:
            raise InvalidInput(f"verify_every is {self.verify_every}; pass at least 1")
        if self.fallback not in ("none", "last", "raise"):
            raise InvalidInput(f"fallback={self.fallback!r} is not understood; pass 'none', 'last' or 'raise'")


class Pursuit:
    """Follows one plan through one episode after the other. Used from one thread."""

    def __init__(self, layout: SubgoalLayout, verifier: StepVerifier | None, rules: Rules) -> None:
        self._layout = layout
        self._verifier = verifier
        self._rules = rules
        self._nothing = layout.nothing()
        self._plan: Imagination | None = None
        self._arrays: tuple[Arrays, ...] = ()
        self._previous: Imagination | None = None
        self._ticket: Ticket | None = None
        self._start_info: Mapping[str, Any] = {}
        self._clear()

    def _clear(self) -> None:
        self._index = 0  # key steps taken as done
        self._agreement: tuple[int, int] = (0, 0)  # an index that the verifier claims, and how often running
        self._steps = 0  # environment steps of this episode
        self._since = 0  # of these, since the index last changed or a plan was last asked for
        self._reimaginations = 0
        self._error = ""

    @property
    def pending(self) -> bool:
        """An imagination is under way."""
        return self._ticket is not None

    def begin(self, ticket: Ticket) -> None:
        """A new episode, whose plan is under way."""
        self.cancel()
        if self._plan is not None:
            self._previous = self._plan
        self._plan, self._arrays = None, ()
        self._clear()
        self._ticket = ticket

    def settle(self, limit: float) -> None:
        """After the wait at reset: take the plan, or fall back; a late one goes on and `poll` takes it over.

        Raises:
            KSGenError: as the imaginer raised it, with ``fallback="raise"``.
        """
        ticket = self._ticket
        self.poll()
        if self._plan is not None or ticket is None:
            return
        error = ticket.error
        if not ticket.done:
            error = SubgoalTimeout(f"no imagination within {limit:g} s of reset; it is taken over when it is ready")
            self._fail(error)
        if self._rules.fallback == "raise" and error is not None:
            self.cancel()
            raise error
        previous = self._previous
        if self._rules.fallback == "last" and previous is not None and previous.task == ticket.request.task:
            self._take(previous, ticket.request.info)

    def poll(self) -> None:
        """Take over the imagination that is under way, if it is done."""
        ticket = self._ticket
        if ticket is None or not ticket.done:
            return
        self._ticket = None
        if ticket.imagination is None:
            self._fail(ticket.error)
            return
        self._error = ""
        self._take(ticket.imagination, ticket.request.info)

    def wants_check(self, last: bool) -> bool:
        """The verifier is to be asked at the environment step that comes next; ``last``: the episode's last."""
        if self._verifier is None or self._plan is None:
            return False
        return last or (self._steps + 1) % self._rules.verify_every == 0

    def note(self, frame: NDArray[np.uint8] | None, info: Mapping[str, Any], *, check: bool) -> bool:
        """An environment step was made; returns whether to imagine anew from its frame.

        Args:
            frame: (H, W, 3) uint8; None where none was taken.
            info: of the step.
            check: ask the verifier.
        """
        self._steps += 1
        self._since += 1
        undone = check and self._verify(frame, info)
        limit = self._rules.step_limit
        finished = self._plan is not None and self._index >= len(self._plan.steps)
        late = limit is not None and self._since >= limit and not finished
        allowed = not self.pending and self._reimaginations < self._rules.max_reimaginations
        return allowed and (undone or late)

    def reimagine(self, ticket: Ticket) -> None:
        """A new plan is under way; the old one is followed until it is there."""
        if self._ticket is not None:
            self._ticket.cancel()
        self._ticket = ticket
        self._since = 0
        self._reimaginations += 1

    def cancel(self) -> None:
        """Nobody waits for the imagination under way any more."""
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None

    @property
    def key_step(self) -> KeyStep | None:
        """The current one as it was imagined; when all are done the last; None where there is no plan."""
        steps = self._plan.steps if self._plan is not None else ()
        return steps[min(self._index, len(steps) - 1)] if steps else None

    def arrays(self) -> Arrays:
        """The current subgoal, new arrays every time; zeros and `VALID` 0 where there is none."""
        chosen = self._arrays[min(self._index, len(self._arrays) - 1)] if self._arrays else self._nothing
        arrays = {key: value.copy() for key, value in chosen.items()}
        arrays[VALID] = np.array([bool(self._arrays)], np.int8)
        return arrays

    def info(self) -> dict[str, Any]:
        """What ``info["subgoal"]`` says, see `SubgoalWrapper`."""
        steps = self._plan.steps if self._plan is not None else ()
        done = min(self._index, len(steps))
        current = self.key_step
        return {
            "text": current.description if current is not None else "",
            "valid": bool(steps),
            "steps_done": done,
            "total": len(steps),
            "plan_done": bool(steps) and done == len(steps),
            "reimaginations": self._reimaginations,
            "pending": self.pending,
            "error": self._error,
        }

    def _take(self, plan: Imagination, start_info: Mapping[str, Any]) -> None:
        self._arrays = self._layout.encode(plan)
        self._plan, self._start_info = plan, start_info
        self._index, self._agreement, self._since = 0, (0, 0), 0

    def _fail(self, error: Exception | None) -> None:
        self._error = f"{type(error).__name__}: {error}"
        log.warning("no new subgoal: %s", self._error)

    def _verify(self, frame: NDArray[np.uint8] | None, info: Mapping[str, Any]) -> bool:
        """Move to the key step that the verifier names; returns whether work was undone."""
        verifier, plan = self._verifier, self._plan
        if verifier is None or plan is None:
            return False
        claim = verifier.steps_done(StepView(plan, self._index, frame, info, self._start_info))
        if claim is None:
            return False
        undone = claim < 0  # more was undone than this plan did
        claim = int(np.clip(claim, 0, len(plan.steps)))
        if claim == self._index and not undone:
            self._agreement = (claim, 0)
            return False
        running = self._agreement[1] + 1 if self._agreement[0] == claim else 1
        self._agreement = (claim, running)
        if running < verifier.confirmations:
            return False
        undone = undone or claim < self._index
        if claim != self._index:
            self._index, self._since = claim, 0
        self._agreement = (claim, 0)
        return undone
