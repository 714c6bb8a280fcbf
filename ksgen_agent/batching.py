"""Several imaginations at a time on one set of models: calls take turns, and what waits together is done together.

An imagination asks for one thing after the other: key-step images, then for each step regions and clip. While one call
runs, the next ones of other imaginations queue up; the one that has waited longest is done next, and with it, in one
call, those of the same kind. Nobody waits for company: an imagination alone has every model to itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import Cancelled
from ksgen_models.interfaces import CheckCancelled, Parts, RegionPrediction, StepRequest, never_cancelled

_POLL = 0.05  # seconds between two looks at the stop signal of who waits
Work = Callable[..., Sequence[Any]]
"""A sequence of things to do, and ``check_cancelled`` → as many results."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    work: Work
    item: Any
    most: int
    check: CheckCancelled
    result: Future[Any] = field(default_factory=Future)

    def stopped(self) -> bool:
        """Whether nobody wants the result any more; whoever waits for it finds that out alone."""
        try:
            self.check()
        except Exception:
            return True
        return False


class ModelCalls:
    """Calls of models that share a machine: one at a time, and several of a kind in one.

    Args:
        executor: of one thread; the models run there.
        most: things done in one call.
    """

    def __init__(self, executor: Executor, most: int) -> None:
        self._executor, self._most = executor, most
        self._waiting: deque[_Waiting] = deque()
        self._guard = threading.Lock()

    @property
    def waiting(self) -> int:
        """Calls that have not begun."""
        return len(self._waiting)

    def alone(self, work: Callable[..., Any], *arguments: Any, check: CheckCancelled, **options: Any) -> Any:
        """Do what cannot be joined with anything."""

        def each(_: Sequence[Any], *, check_cancelled: CheckCancelled) -> Sequence[Any]:
            return [work(*arguments, **options, check_cancelled=check_cancelled)]

        return self._wait(_Waiting(each, None, 1, check))

    def together(self, work: Work, item: Any, check: CheckCancelled) -> Any:
        """Do ``work`` on this item, with those that others wait for.

        One that fails fails alone: what failed together is done one by one. One that is stopped is let go at once; its
        place in a call that has begun is drawn to the end where others are in it, and the call ends where it is alone.

        Args:
            work: does several items; the same function for all that may be joined.
            item: one.
            check: raises when this one is to stop.
        """
        return self._wait(_Waiting(work, item, self._most, check))

    def _wait(self, waiting: _Waiting) -> Any:
        with self._guard:
            self._waiting.append(waiting)
        self._executor.submit(self._serve)
        while True:
            try:
                return waiting.result.result(timeout=_POLL)
            except NotYet:
                if waiting.result.done():  # the work itself raised a timeout
                    raise
            waiting.check()

    def _serve(self) -> None:
        """Do the one that has waited longest, and what can be done with it; nothing, if that was done with another."""
        batch: list[_Waiting] = []
        with self._guard:
            for waiting in list(self._waiting):
                if batch and (waiting.work != batch[0].work or len(batch) >= waiting.most):
                    continue
                self._waiting.remove(waiting)
                if not waiting.stopped():
                    batch.append(waiting)
        if batch:
            _do(batch)


def _do(batch: Sequence[_Waiting]) -> None:
    def check() -> None:
        if all(waiting.stopped() for waiting in batch):
            raise Cancelled("nobody waits for this any more")

    try:
        results = batch[0].work([waiting.item for waiting in batch], check_cancelled=check)
        for waiting, result in zip(batch, results, strict=True):
            waiting.result.set_result(result)
    except Exception as exc:
        if len(batch) == 1 and not batch[0].stopped():
            batch[0].result.set_exception(exc)
        for waiting in batch if len(batch) > 1 else ():
            if not waiting.stopped():
                _do([waiting])


def share(parts: Parts, calls: ModelCalls) -> Parts:
    """The same parts for several imaginations at a time; `Parts.batch` says that they can."""
    return replace(
        parts,
        image_generator=_Images(parts.image_generator, calls),
        region_model=_Regions(parts.region_model, calls),
        video_generator=_Clips(parts.video_generator, calls),
    )


@dataclass(frozen=True)
class _Images:
    own: Any
    calls: ModelCalls

    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        return self.calls.alone(self.own.draw, frame, steps, check=check_cancelled, seed=seed)


@dataclass(frozen=True)
class _Regions:
    own: Any
    calls: ModelCalls

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        return self.calls.together(self.own.predict_many, request, check_cancelled)


@dataclass(frozen=True)
class _Clips:
    own: Any
    calls: ModelCalls

    @property
    def fps(self) -> float:
        return self.own.fps

    def generate(
        self, request: StepRequest, region: RegionPrediction, *, check_cancelled: CheckCancelled = never_cancelled
    ) -> NDArray[np.uint8]:
        return self.calls.together(self.own.generate_many, (request, region), check_cancelled)
