"""The engine of one machine: spawned processes, each replaced when it dies or has done many tasks.

Each process is a `ProcessPoolExecutor` of its own, so that a death tells which task it came of; the other processes
take no notice.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection, util
from typing import Any, TypeVar

from ksgen_export.jobs import ATTEMPTS, Failure, Work
from ksgen_export.jobs.worker import Unopened, Worker
from ksgen_models.errors import KSGenError
from ksgen_models.processes import core_count, environment

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

_TASKS_A_PROCESS = 400
"""A process is replaced after so many tasks, so that what renderers leak stays small."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS")


def run_locally(
    tasks: Sequence[TaskT], work: Work[TaskT, ResultT], workers: int, cores_per_worker: int
) -> Iterator[tuple[TaskT, ResultT | Failure]]:
    """See `ksgen_export.jobs.run_tasks`."""
    wanted = workers or max(1, core_count() // cores_per_worker)
    queue = deque((task, 1) for task in tasks)
    seats: set[_Seat] = set()
    running: dict[Future[Any], tuple[_Seat, TaskT, int]] = {}
    finished, deaths = 0, 0

    def employ(seat: _Seat) -> None:
        if queue:
            task, attempt = queue.popleft()
            running[seat.submit(task)] = (seat, task, attempt)

    with environment(dict.fromkeys(_THREADS, str(cores_per_worker))):
        try:
            for _ in range(min(wanted, len(queue))):
                seats.add(seat := _Seat(work))
                employ(seat)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    seat, task, attempt = running.pop(future)
                    try:
                        answer = future.result()
                    except BrokenProcessPool:
                        deaths += 1
                        if not finished and deaths >= ATTEMPTS * max(ATTEMPTS, len(seats)):
                            raise KSGenError(
                                f"{deaths} workers died before any had done a task, perhaps for want of memory; try "
                                "fewer workers"
                            ) from None
                        seat.replace()
                        if attempt < ATTEMPTS:
                            queue.appendleft((task, attempt + 1))
                            employ(seat)
                            continue
                        answer = Failure(f"its worker died {attempt} times, perhaps for want of memory")
                    else:
                        finished += 1
                    if isinstance(answer, Unopened):
                        raise answer.error()
                    employ(seat)
                    yield task, answer
        finally:
            for seat in seats:
                seat.close()


@dataclass(eq=False)
class _Seat:
    """A place for one worker process."""

    work: Work[Any, Any]
    pool: ProcessPoolExecutor | None = None
    done: int = field(default=0)

    def submit(self, task: Any) -> Future[Any]:
        if self.done >= _TASKS_A_PROCESS:
            self.replace()
        if self.pool is None:
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(self.work,))
        self.done += 1
        return self.pool.submit(_do, task)

    def replace(self) -> None:
        self.close()
        self.pool, self.done = None, 0

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)


_worker: Worker | None = None


def _begin(work: Work[Any, Any]) -> None:
    global _worker
    _worker = Worker(work)
    util.Finalize(None, _worker.close, exitpriority=10)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _do(task: Any) -> Any:
    assert _worker is not None
    return _worker.do(task)


def _end_with_parent() -> None:
    # A killed parent cannot tell its workers, and they would wait for its tasks for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
