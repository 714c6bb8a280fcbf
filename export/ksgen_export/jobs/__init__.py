"""Many tasks in many processes, on this machine or on a Ray cluster: what `generate` and `curate` run on.

    for task, answer in run_tasks(tasks, work, engine="local", workers=4):
        ...  # answers come as they are done; `Failure` where a task cost its workers their lives

A *work* is opened once in every worker process (that is when models are loaded) and then does one task after the
other. What happens inside a task is the work's own affair; the engines see to processes that die: the task is given to
a new one, three times at most.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ksgen_models.errors import InvalidInput

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
TaskIn = TypeVar("TaskIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)

ENGINES = ("local", "ray")
ATTEMPTS = 3
"""Workers that a task may cost before it is given up."""


class Work(Protocol[TaskIn, ResultOut]):
    """What workers do; picklable, e.g. a frozen dataclass of a module that every worker can import."""

    def __call__(self) -> AbstractContextManager[Callable[[TaskIn], ResultOut]]:
        """Open it, in the worker: the function that does a task.

        Raises:
            KSGenError: it cannot be opened; ends the run, with this error.
        """
        ...


@dataclass(frozen=True)
class Failure:
    """Why there is no result of a task.

    Attributes:
        error: one line.
    """

    error: str


def run_tasks(
    tasks: Sequence[TaskT],
    work: Work[TaskT, ResultT],
    *,
    engine: str = "local",
    workers: int = 0,
    cores_per_worker: int = 1,
) -> Iterator[tuple[TaskT, ResultT | Failure]]:
    """Do all tasks and yield each with what came of it, as they are done.

    Tasks and results travel between processes: keep them small, and leave large things on disk.

    Args:
        tasks: picklable.
        work: picklable.
        engine: ``"local"`` spawns processes on this machine; ``"ray"`` makes actors in the Ray cluster that
            ``RAY_ADDRESS`` names, or in one of this machine.
        workers: processes; 0 takes as many as there is room for (cores, or the cluster's GPUs where it has any).
        cores_per_worker: threads that numerical libraries may use in each.

    Raises:
        InvalidInput: there is no such engine, or no room for the workers.
        KSGenError: the work cannot be opened, or workers die before any has done a task.
    """
    check_engine(engine, workers, cores_per_worker)
    if not tasks:
        return iter(())
    if engine == "ray":
        from ksgen_export.jobs.on_ray import run_on_ray as run
    else:
        from ksgen_export.jobs.local import run_locally as run
    return run(tasks, work, workers, cores_per_worker)


def check_engine(engine: str, workers: int, cores_per_worker: int) -> None:
    """Check what `run_tasks` is told.

    Raises:
        InvalidInput: it cannot be used, or Ray is not installed.
    """
    if engine not in ENGINES:
        near = difflib.get_close_matches(engine, ENGINES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidInput(f"there is no engine {engine!r}, there are {', '.join(ENGINES)}{hint}")
    if workers < 0:
        raise InvalidInput(f"workers is {workers}; give 1 or more, or 0 for all that there is room for")
    if cores_per_worker < 1:
        raise InvalidInput(f"cores_per_worker is {cores_per_worker}; give 1 or more")
    if engine == "ray":
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise InvalidInput("the engine 'ray' needs Ray; run: pip install 'ksgen-agent[ray]'")
