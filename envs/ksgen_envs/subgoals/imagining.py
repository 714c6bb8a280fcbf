"""Imaginations in background threads: in batches, with time limits, leaving nothing behind.

A thread lives while there is work and ends with it. At most ``workers`` calls run at once; an imaginer that is stuck
and does not listen to cancellation keeps its thread, and no other is started in its place: requests behind it wait,
their callers go on after their own time limits. Threads are daemons, so such an imaginer cannot keep the interpreter
from ending either.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import Imaginer
from ksgen_models.errors import Cancelled, KSGenError

log = logging.getLogger("ksgen_envs.subgoals")

_PATIENCE = 2.0  # seconds that closing waits for work to notice that it was cancelled


class BatchImaginer(Imaginer, Protocol):
    """An imaginer that takes several frames in one call."""

    def imagine_batch(
        self,
        frames: Sequence[NDArray[np.uint8]],
        tasks: Sequence[str],
        *,
        seeds: Sequence[int],
        allow_out_of_domain: bool = False,
    ) -> Sequence[Imagination | Exception]:
        """One result for each frame, in order; an error in the place of a result spoils no other."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """What is to be imagined.

    Attributes:
        frame: (H, W, 3) uint8, nobody else's to change.
        task: in words.
        seed: of the imagination.
        info: the environment's info when the frame was taken.
    """

    frame: NDArray[np.uint8]
    task: str
    seed: int
    info: Mapping[str, Any]


class Ticket:
    """One request under way; once `done`, either ``imagination`` or ``error`` is set."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.imagination: Imagination | None = None
        self.error: Exception | None = None
        self._ended = threading.Event()
        self._cancelled = threading.Event()
        self._on_cancel: Callable[[], None] = lambda: None

    @property
    def done(self) -> bool:
        """The result or the error is there."""
        return self._ended.is_set()

    @property
    def cancelled(self) -> bool:
        """Nobody wants the result any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Say that nobody wants the result; the imaginer is told where it listens."""
        self._cancelled.set()
        self._on_cancel()

    def wait(self, seconds: float) -> bool:
        """Wait until `done`, at most so long."""
        return self._ended.wait(max(seconds, 0))

    def end(self, result: Imagination | Exception) -> None:
        """Hand over what came of it."""
        if isinstance(result, Exception):
            self.error = result
        elif result.steps:
            self.imagination = result
        else:
            self.error = KSGenError(f"the imagination of {self.request.task!r} has no key steps")
        self._ended.set()


class Imagining:
    """Runs an imaginer in the background.

    Args:
        imaginer: shared, never closed here.
        workers: calls that may run at once.
        allow_out_of_domain: passed to the imaginer.
    """

    def __init__(self, imaginer: Imaginer, *, workers: int = 1, allow_out_of_domain: bool = False) -> None:
        self._pool = _Pool(imaginer, workers, allow_out_of_domain)
        self._release = weakref.finalize(self, self._pool.shut, _PATIENCE)

    def submit(self, requests: Sequence[Request]) -> list[Ticket]:
        """Begin; several requests go through one call where the imaginer has ``imagine_batch``.

        Raises:
            KSGenError: closed already.
        """
        if not self._release.alive:
            raise KSGenError("this wrapper is closed; wrap the environment again")
        tickets = [Ticket(request) for request in requests]
        together = len(tickets) > 1 and callable(getattr(self._pool.imaginer, "imagine_batch", None))
        for group in [tickets] if together else [[ticket] for ticket in tickets]:
            self._pool.add(_Job(tuple(group)))
        return tickets

    def close(self) -> None:
        """Cancel everything and wait a moment for threads to end; a second call does nothing."""
        self._release()


def wait_for(tickets: Sequence[Ticket], seconds: float) -> None:
    """Return when all are done or the time is over."""
    ends = time.monotonic() + seconds
    for ticket in tickets:
        ticket.wait(ends - time.monotonic())


def accepts(function: Callable[..., Any], name: str) -> bool:
    """The function has a parameter of that name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return False


def options_of(
    function: Callable[..., Any], allow_out_of_domain: bool, cancel: threading.Event | None
) -> dict[str, Any]:
    """What to call an imaginer's ``function`` with: ``cancel`` goes along where it is given and taken."""
    options: dict[str, Any] = {"allow_out_of_domain": allow_out_of_domain}
    if cancel is not None and accepts(function, "cancel"):
        options["cancel"] = cancel
    return options


class _Job:
    """One call of the imaginer, for one ticket or for several."""

    def __init__(self, tickets: tuple[Ticket, ...]) -> None:
        self.tickets = tickets
        self._stop = threading.Event()
        for ticket in tickets:
            ticket._on_cancel = self._look  # pyright: ignore[reportPrivateUsage]

    def _look(self) -> None:
        if all(ticket.cancelled for ticket in self.tickets):
            self._stop.set()

    def cancel(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()

    def run(self, imaginer: Imaginer, allow_out_of_domain: bool) -> None:
        """Whatever happens, every ticket ends."""
        try:
            if self._stop.is_set():
                raise Cancelled("the imagination was cancelled before it began")
            results = self._call(imaginer, allow_out_of_domain)
        except Exception as exc:
            if not isinstance(exc, KSGenError):
                log.exception("the imaginer raised an unexpected error")
            results = [exc] * len(self.tickets)
        except BaseException as exc:  # SystemExit and the like inside an imaginer must not strand its callers
            results = [KSGenError(f"the imaginer ended with {type(exc).__name__}: {exc}")] * len(self.tickets)
        for ticket, result in zip(self.tickets, results, strict=True):
            ticket.end(result)

    def _call(self, imaginer: Any, allow_out_of_domain: bool) -> Sequence[Imagination | Exception]:
        requests = [ticket.request for ticket in self.tickets]
        function = imaginer.imagine if len(requests) == 1 else imaginer.imagine_batch
        options = options_of(function, allow_out_of_domain, self._stop)
        if len(requests) == 1:
            request = requests[0]
            return [function(request.frame, request.task, seed=request.seed, **options)]
        results = function(
            [request.frame for request in requests],
            [request.task for request in requests],
            seeds=[request.seed for request in requests],
            **options,
        )
        if len(results) != len(requests):
            raise KSGenError(f"imagine_batch was asked for {len(requests)} imaginations and gave {len(results)}")
        return results


class _Pool:
    """The threads of one `Imagining`; holds no reference to it, so that it can be collected."""

    def __init__(self, imaginer: Imaginer, workers: int, allow_out_of_domain: bool) -> None:
        self.imaginer = imaginer
        self._workers = workers
        self._allow = allow_out_of_domain
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._running: dict[threading.Thread, _Job] = {}

    def add(self, job: _Job) -> None:
        with self._lock:
            self._waiting.append(job)
            if len(self._running) < self._workers:
                thread = threading.Thread(target=self._work, name="ksgen-subgoals", daemon=True)
                self._running[thread] = self._waiting.popleft()
                thread.start()

    def _work(self) -> None:
        thread = threading.current_thread()
        while True:
            with self._lock:
                job = self._running[thread]
            job.run(self.imaginer, self._allow)
            with self._lock:
                if not self._waiting:
                    del self._running[thread]
                    return
                self._running[thread] = self._waiting.popleft()

    def shut(self, patience: float) -> None:
        with self._lock:
            waiting, running = list(self._waiting), dict(self._running)
            self._waiting.clear()
        for job in (*waiting, *running.values()):
            job.cancel()
        for job in waiting:
            job.run(self.imaginer, self._allow)  # cancelled: only tells its tickets
        ends = time.monotonic() + patience
        for thread in running:
            if thread is not threading.current_thread():  # collected by a thread of its own
                thread.join(max(ends - time.monotonic(), 0))
        stuck = sum(thread.is_alive() for thread in running if thread is not threading.current_thread())
        if stuck:
            log.warning("%d call(s) of the imaginer go on although they were cancelled", stuck)
