"""Jobs while workers are killed at random and the server is killed and started again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from ksgen_launch.serving_bench.imaginer import SMALL, describe, draw, read, same
from ksgen_launch.serving_bench.latency import drive_ready
from ksgen_launch.serving_bench.processes import ANYWHERE, Running, run_client, subgoal_server
from ksgen_launch.serving_bench.throughput import FRAME

_CLIENTS = 16
_JOBS_A_KILLING = 100  # on average, between two workers that are killed
_LOOK = 0.005  # seconds between two looks at how far the clients are
_STEPS, _SECONDS = 2, 0.002  # key steps of a job, and what each takes


def measure(folder: Path, *, jobs: int, restarts: int, seed: int = 0) -> dict[str, Any]:
    """Run the jobs under fire.

    Args:
        folder: for the server's store, and a file of what the clients have.
        jobs: in all, of 16 clients.
        restarts: how often the server is killed with ``kill -9`` and started again on the same store, evenly spread.
        seed: of the killings: after how many answers each comes, so that a slow machine sees as many as a fast one.

    Returns:
        ``jobs``, ``lost``, ``twice`` (jobs or key steps that arrived again), ``wrong``, ``errors`` (by class),
        ``workers_killed``, ``servers_killed``, ``seconds``, and ``store_done`` (jobs that the store holds as done).
    """
    progress = folder / "progress"
    progress.touch()
    killer = _Killer(folder / "chaos", progress, jobs, restarts, random.Random(seed))
    began = time.perf_counter()
    address = killer.start()
    try:
        result = run_client(drive_jobs, address, jobs, str(progress))
    finally:
        killer.end()
    result |= {"workers_killed": killer.workers, "servers_killed": killer.servers}
    result["seconds"] = time.perf_counter() - began
    with contextlib.closing(sqlite3.connect(folder / "chaos" / "jobs.sqlite")) as database:
        result["store_done"] = database.execute("SELECT COUNT(*) FROM jobs WHERE state = 'done'").fetchone()[0]
    return result


def drive_jobs(address: str, jobs: int, progress: str) -> dict[str, Any]:
    """Submit all, check what comes back, and note each answer in the file of progress by one byte."""
    from ksgen_agent import Limits, SubgoalClient

    task = describe(_STEPS, SMALL, _SECONDS)
    left = iter(range(jobs))
    guard = threading.Lock()
    answers: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    wrong: list[int] = []
    twice: list[int] = []

    def work() -> None:
        while True:
            with guard:
                job = next(left, None)
            if job is None:
                return
            try:
                steps = list(client.imagine_stream(FRAME, task, seed=job, request_id=f"chaos-{job}"))
            except Exception as exc:
                errors[type(exc).__name__] += 1
                continue
            numbers = [step.index for step in steps]
            answers[job] += 1
            if len(set(numbers)) != len(numbers):
                twice.append(job)
            if not _right(task, job, steps):
                wrong.append(job)
            with guard, open(progress, "ab") as file:
                file.write(b".")

    with SubgoalClient(address, limits=Limits(connect=120, reconnect=120)) as client:
        threads = [threading.Thread(target=work) for _ in range(_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    again = sum(count > 1 for count in answers.values()) + len(twice)
    return {
        "jobs": jobs,
        "lost": jobs - len(answers),
        "twice": again,
        "wrong": len(wrong),
        "errors": dict(errors),
    }


def _right(task: str, seed: int, steps: list[Any]) -> bool:
    count, side, frames, _ = read(task)
    expected = (draw(side, frames, seed, index) for index in range(count))
    return len(steps) == count and all(same(step, right) for step, right in zip(steps, expected, strict=True))


class _Killer:
    """Keeps a server running on one address, and kills it and its workers."""

    def __init__(self, store: Path, progress: Path, jobs: int, restarts: int, chance: random.Random) -> None:
        self._store, self._progress, self._chance = store, progress, chance
        servers = [(jobs * (place + 1) // (restarts + 1), self._kill_server) for place in range(restarts)]
        workers = [(chance.randrange(jobs), self._kill_worker) for _ in range(max(jobs // _JOBS_A_KILLING, 1))]
        self._due = sorted(servers + workers, key=lambda one: one[0])
        self.workers = self.servers = 0
        self._ended = threading.Event()
        self._block = contextlib.ExitStack()
        self._server: Running | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> str:
        """Start the server, and the killing; the address."""
        server = self._serve(ANYWHERE)
        run_client(drive_ready, server.address, 2)
        self._thread.start()
        return server.address

    def end(self) -> None:
        """Stop killing, and end the server."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._block.close()

    def _serve(self, bind: str) -> Running:
        self._server = self._block.enter_context(subgoal_server(self._store, "--workers", "2", bind=bind))
        return self._server

    def _run(self) -> None:
        while self._server and not self._ended.wait(_LOOK):
            if self._due and self._progress.stat().st_size >= self._due[0][0]:
                _, kill = self._due.pop(0)
                kill(self._server)

    def _kill_server(self, server: Running) -> None:
        os.kill(server.process.pid, signal.SIGKILL)
        self.servers += 1
        self._block.close()
        self._serve(server.address)

    def _kill_worker(self, server: Running) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it died on its own, or with its server
            if workers := server.workers():
                self._chance.choice(workers).kill()
                self.workers += 1
