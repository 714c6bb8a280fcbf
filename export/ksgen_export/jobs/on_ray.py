"""The engine of a Ray cluster: one actor a GPU, or for so many cores, each with the work opened once.

Ray restarts an actor whose process or machine is lost and gives it its task again (``max_restarts``,
``max_task_retries``); an actor has one task at a time and the rest wait here, so that no more is under way than can be
worked on. All machines need the same packages and see the same files under the same paths.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import ray  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

from ksgen_export.jobs import ATTEMPTS, Failure, Work
from ksgen_export.jobs.worker import Unopened, Worker
from ksgen_models.errors import InvalidInput

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


def run_on_ray(
    tasks: Sequence[TaskT], work: Work[TaskT, ResultT], workers: int, cores_per_worker: int
) -> Iterator[tuple[TaskT, ResultT | Failure]]:
    """See `ksgen_export.jobs.run_tasks`."""
    with _cluster():
        share, room = _room(cores_per_worker)
        if workers > room or not room:
            raise InvalidInput(
                f"{max(workers, 1)} workers do not fit into the Ray cluster, which has room for {room} with "
                f"{', '.join(f'{value:g} {name}' for name, value in share.items())} each; give fewer"
            )
        kind: Any = ray.remote(Worker)
        kind = kind.options(
            num_cpus=share["CPU"], num_gpus=share.get("GPU", 0), max_restarts=-1, max_task_retries=ATTEMPTS - 1
        )
        actors = [kind.remote(work) for _ in range(min(workers or room, len(tasks)))]
        queue, idle, running = deque(tasks), list(actors), {}
        try:
            while queue or running:
                while queue and idle:
                    actor, task = idle.pop(), queue.popleft()
                    running[actor.do.remote(task)] = (actor, task)
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    actor, task = running.pop(reference)
                    try:
                        answer: Any = ray.get(reference)
                    except RayError as exc:
                        answer = Failure(f"its worker died {ATTEMPTS} times ({' '.join(str(exc).split())[:300]})")
                    if isinstance(answer, Unopened):
                        raise answer.error()
                    idle.append(actor)
                    yield task, answer
        finally:
            for actor in actors:
                ray.kill(actor)


@contextmanager
def _cluster() -> Iterator[None]:
    """The cluster that somebody connected to already, or one for as long as it is needed."""
    if ray.is_initialized():
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def _room(cores_per_worker: int) -> tuple[dict[str, float], int]:
    """What a worker takes, and how many fit: a worker lies on one machine."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = any(machine.get("GPU", 0) >= 1 for machine in machines)
    share = {"CPU": float(cores_per_worker), **({"GPU": 1.0} if with_gpus else {})}
    return share, sum(
        int(min(machine.get(name, 0) // amount for name, amount in share.items())) for machine in machines
    )
