"""The worker processes: their start, their slots, their death and replacement."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import zmq

from ksgen_agent.server import work
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.logs import fields
from ksgen_agent.wire import codec

_log = logging.getLogger("ksgen_agent.server")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0  # seconds before a worker that died early is replaced


@dataclass
class Worker:
    """One process.

    Attributes:
        number: never given again, so a message of a dead worker cannot be taken for one of its successor.
        place: which of the configured workers it is; decides its device.
        slots: routing id of each job slot that has reported, and the job it has; None when idle.
        began, heard: on the monotonic clock.
    """

    number: int
    place: int
    process: subprocess.Popen[bytes]
    began: float
    heard: float
    ready: bool = False
    slots: dict[bytes, int | None] = field(default_factory=dict)

    def jobs(self) -> list[int]:
        """The jobs it has under way."""
        return [key for key in self.slots.values() if key is not None]


class WorkerPool:
    """All workers of a server.

    Args:
        config: how many, of what.
        socket: the ROUTER that they connect to.
        endpoint: its address.
    """

    def __init__(self, config: ServerConfig, socket: zmq.Socket[Any], endpoint: str) -> None:
        self._config, self._socket, self._endpoint = config, socket, endpoint
        self._workers: dict[int, Worker] = {}
        self._due: dict[int, float] = dict.fromkeys(range(config.workers), 0.0)
        self._pause: dict[int, float] = dict.fromkeys(range(config.workers), _FIRST_PAUSE)
        self._started = 0
        self.was_ready = False
        self.lost = 0

    def tend(self, now: float) -> list[int]:
        """Start workers that are due, kill those that hang, bury the dead; returns the jobs that the dead had."""
        orphans: list[int] = []
        for worker in list(self._workers.values()):
            limit = self._config.silence_seconds if worker.ready else self._config.start_seconds
            if now - worker.heard > limit:
                _log.error("a worker says nothing and is killed", extra=fields(worker=worker.number, silent=limit))
                worker.process.kill()
                worker.process.wait()
            if worker.process.poll() is not None:
                orphans += self._bury(worker, now)
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            self._start(place, now)
        return orphans

    def hear(self, peer: bytes, message: object, now: float) -> bool:
        """Note a sign of life; False when the worker is dead already and what it said does not count any more."""
        worker = self._workers.get(int(peer.partition(b"/")[0]))
        if worker is None:
            return False
        worker.heard = now
        if isinstance(message, work.Ready):
            worker.ready = self.was_ready = True
            self._pause[worker.place] = _FIRST_PAUSE
            _log.info("a worker is ready", extra=_facts(worker, seconds=now - worker.began))
        elif isinstance(message, work.Idle | work.Finished | work.Failed):
            worker.slots[peer] = None
        return True

    def assign(self, run: work.Run) -> int:
        """Hand a job to an idle slot and return its worker's number; `idle` must have said that there is one."""
        worker, slot = next(self._idle())
        worker.slots[slot] = run.key
        self._socket.send_multipart([slot, codec.encode(run)])
        return worker.number

    def idle(self) -> bool:
        """Whether some slot waits for a job."""
        return next(self._idle(), None) is not None

    def stop(self, key: int) -> None:
        """Ask the worker that has this job to stop it."""
        if worker := self._worker_of(key):
            self._socket.send_multipart([str(worker.number).encode(), codec.encode(work.Stop(key))])

    def kill(self, key: int) -> None:
        """End the worker that has this job; `tend` finds it dead."""
        if worker := self._worker_of(key):
            _log.warning("a worker does not stop and is killed", extra=_facts(worker))
            worker.process.kill()

    def close(self) -> None:
        """End all workers."""
        self._due.clear()
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.wait()
            if worker.process.stdin:
                worker.process.stdin.close()
        self._workers.clear()

    def describe(self) -> tuple[dict[str, Any], ...]:
        """Each worker as plain data, for `ServerStatus`."""
        now = time.monotonic()
        return tuple(
            {
                "number": worker.number,
                "pid": worker.process.pid,
                "state": ("busy" if worker.jobs() else "ready") if worker.ready else "starting",
                "device": self._device(worker.place) or "",
                "jobs": len(worker.jobs()),
                "uptime": max(now - worker.began, 0.0),
                "memory": resident_bytes(worker.process.pid),
            }
            for worker in self._workers.values()
        )

    def _idle(self) -> Any:
        # The least busy worker first, so that jobs spread over the devices.
        for worker in sorted(self._workers.values(), key=lambda worker: len(worker.jobs())):
            if worker.process.returncode is None:
                yield from ((worker, slot) for slot, key in worker.slots.items() if key is None)

    def _worker_of(self, key: int) -> Worker | None:
        return next((worker for worker in self._workers.values() if key in worker.jobs()), None)

    def _start(self, place: int, now: float) -> None:
        self._started += 1
        options = dict(self._config.options)
        if device := self._device(place):
            options["device"] = device
        arguments = [self._endpoint, str(self._started), self._config.imaginer, json.dumps(options)]
        arguments += [str(self._config.jobs_per_worker), self._config.log_format]
        command = [sys.executable, "-m", "ksgen_agent.server.worker", *arguments]
        # The worker finds the modules that this process finds, a user's own imaginer among them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        worker = self._workers[self._started] = Worker(self._started, place, process, began=now, heard=now)
        _log.info("a worker is started", extra=_facts(worker, device=self._device(place)))

    def _bury(self, worker: Worker, now: float) -> list[int]:
        del self._workers[worker.number]
        if worker.process.stdin:
            worker.process.stdin.close()
        self.lost += 1
        pause = self._pause[worker.place]
        if not worker.ready:
            self._pause[worker.place] = min(pause * 2, _LONGEST_PAUSE)
        self._due[worker.place] = now if worker.ready else now + pause
        code = worker.process.returncode
        _log.error("a worker died and is replaced", extra=_facts(worker, code=code, jobs=len(worker.jobs())))
        return worker.jobs()

    def _device(self, place: int) -> str | None:
        devices = self._config.devices
        return devices[place % len(devices)] if devices else None


def resident_bytes(pid: int) -> int:
    """Memory that a process really has; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _facts(worker: Worker, **more: Any) -> dict[str, Any]:
    return fields(worker=worker.number, pid=worker.process.pid, **more)
