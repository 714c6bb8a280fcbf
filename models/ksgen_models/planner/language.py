"""The planner that asks a language model, with the nearest procedures of the step library in the prompt.

KS-Gen's planner is a multimodal language model that is shown similar procedures (retrieval-augmented generation). Its
prompt was not published; `ksgen_models.planner.prompt` is this project's reading. The answer is held to a JSON schema
where the model can be held to one, checked in any case, sent back with what is wrong with it a bounded number of
times, and replaced by the retrieved plan when all that fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput, KSGenError, MalformedAnswer, RemoteError, UnknownTask
from ksgen_models.library import Procedure
from ksgen_models.planner.chat import ChatModel, Message
from ksgen_models.planner.picture import checked_frame, scaled_down
from ksgen_models.planner.prompt import correction, instructions, question, spoken_steps
from ksgen_models.planner.retrieval import RetrievalPlanner, as_evidence
from ksgen_models.planner.schema import plan_schema, read_steps
from ksgen_models.planner.words import checked_task
from ksgen_models.types import Plan

_log = logging.getLogger(__name__)
_LONGEST_QUOTE = 2000


@dataclass(frozen=True)
class PlannerSettings:
    """How a language model is asked for a plan.

    Attributes:
        most_steps: key steps of a plan at most, 1 to 50.
        repairs: how many times an unusable answer is sent back with what is wrong with it, 0 to 10.
        time_limit: seconds for a whole plan, repairs included.
        answer_tokens: length of one answer at most, 16 to 32,768 tokens; what a model thinks aloud counts too.
        picture_side: the frame is reduced so that its longer side has at most this many pixels, at least 28; None shows
            the model no picture, for a model that reads words alone.
        fall_back: plan by retrieval when the model fails; False raises instead.
    """

    most_steps: int = 12
    repairs: int = 2
    time_limit: float = 60.0
    answer_tokens: int = 1024
    picture_side: int | None = 768
    fall_back: bool = True

    def __post_init__(self) -> None:
        """Raises `InvalidInput` when a value is out of its range."""
        fits = {
            "most_steps": 1 <= self.most_steps <= 50,
            "repairs": 0 <= self.repairs <= 10,
            "time_limit": 0.0 < self.time_limit < float("inf"),
            "answer_tokens": 16 <= self.answer_tokens <= 32_768,
            "picture_side": self.picture_side is None or 28 <= self.picture_side <= 8192,
        }
        for name, fit in fits.items():
            if not fit:
                raise InvalidInput(f"{name}={getattr(self, name)} is out of its range; see PlannerSettings")


class LanguagePlanner:
    """A planner that satisfies `ksgen_models.interfaces.Planner`, over any `ChatModel`."""

    def __init__(
        self,
        chat: ChatModel,
        retrieval: RetrievalPlanner,
        settings: PlannerSettings | None = None,
        source: str = "language model",
    ) -> None:
        """Plan with a language model.

        Args:
            chat: the model.
            retrieval: finds the procedures for the prompt, and plans when the model fails.
            settings: None takes the defaults.
            source: `Plan.source` of the plans that the model wrote.
        """
        self.retrieval = retrieval
        self.settings = settings or PlannerSettings()
        self.source = source
        self._chat = chat

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        """Write the key steps of a task.

        Args:
            frame: (H, W, 3) uint8.
            task: a sentence; it need not be in the step library.

        Returns:
            The plan. Its confidence is `support`; its source is that of this planner, or ``"retrieval"`` when the
            model failed and the plan was retrieved instead (the reason is logged as a warning).

        Raises:
            InvalidFrame, InvalidTask: the input cannot be used.
            MalformedAnswer: the model's answers are no plan, and there is nothing to fall back to.
            RemoteError: as `ChatModel.answer` (a time limit, a lost or busy server, a refused key, nonsense), and
                there is nothing to fall back to.
        """
        frame, task = checked_frame(frame), checked_task(task)
        procedures = self.retrieval.retrieve(task)
        try:
            steps = self._ask(frame, task, [procedure for procedure, _ in procedures])
        except (RemoteError, MalformedAnswer) as failure:
            if not self.settings.fall_back:
                raise
            return self._fall_back(frame, task, failure)
        return Plan(
            task=task,
            steps=steps,
            confidence=support(steps, [procedure for procedure, _ in procedures], self.retrieval),
            source=self.source,
            evidence=tuple(as_evidence(procedure, similarity) for procedure, similarity in procedures),
        )

    def _ask(self, frame: NDArray[np.uint8], task: str, procedures: Sequence[Procedure]) -> tuple[str, ...]:
        settings = self.settings
        deadline = time.monotonic() + settings.time_limit
        picture = None if settings.picture_side is None else scaled_down(frame, settings.picture_side)
        opening = (
            Message("system", instructions(settings.most_steps, picture is not None)),
            Message("user", question(task, procedures), picture),
        )
        messages, schema = opening, plan_schema(settings.most_steps)
        fault = ""
        for _ in range(1 + settings.repairs):
            answer = self._chat.answer(messages, schema, most_tokens=settings.answer_tokens, deadline=deadline)
            try:
                return read_steps(answer.text, settings.most_steps)
            except MalformedAnswer as exc:
                fault = f"{exc} (it was cut off: write less)" if answer.cut_off else str(exc)
            # Only the last answer is shown again: the conversation stays short however often it is repaired.
            said = Message("assistant", answer.text[:_LONGEST_QUOTE] or "(nothing)")
            messages = (*opening, said, Message("user", correction(fault, settings.most_steps)))
        raise MalformedAnswer(
            f"{self.source} gave no plan for {task[:100]!r} in {1 + settings.repairs} answers; the last fault: {fault}"
        )

    def _fall_back(self, frame: NDArray[np.uint8], task: str, failure: KSGenError) -> Plan:
        try:
            plan = self.retrieval.plan(frame, task)
        except UnknownTask as unknown:
            failure.add_note(f"(no fall-back: {unknown})")
            raise failure from unknown
        _log.warning("planned %r by retrieval: %s: %s", task[:100], type(failure).__name__, failure)
        return plan


def support(steps: Sequence[str], procedures: Sequence[Procedure], retrieval: RetrievalPlanner) -> float:
    """How far retrieved procedures bear a plan out, in [0, 1].

    The mean over the steps of each one's greatest cosine similarity to a step of the procedures, negative ones counted
    as 0. It is the same measure for every model; a sound plan for a task unlike anything in the library scores low.
    """
    known = tuple(dict.fromkeys(step for procedure in procedures for step in spoken_steps(procedure)))
    similarities = retrieval.encoder.embed(tuple(steps)) @ retrieval.encoder.embed(known).T  # (S, D) (D, K) → (S, K)
    return float(np.clip(similarities.max(axis=1), 0.0, 1.0).mean())
