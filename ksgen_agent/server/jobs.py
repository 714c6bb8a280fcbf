"""A job, and the queue in which clients take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ksgen_agent.wire.messages import JobStatus, Submit


class StoredStep(NamedTuple):
    """A finished key step: its header, as sent, the bytes of its body, and the number of the file that holds it."""

    header: bytes
    size: int
    file: int


@dataclass
class Job:
    """One submitted imagination; times are wall-clock seconds, since they outlive the server.

    Attributes:
        key: the store's number of it.
        owner: name of the key it came with; empty without keys. Only its owner sees a job.
        share: whose turn it takes in the queue.
        request: as submitted.
        state: one of `ksgen_agent.wire.messages.JOB_STATES`.
        frame_file: number of the file that holds the frame.
        steps: those that are finished.
        created, started, finished, deadline: 0 for not yet.
        attempts: workers that died while on it.
        end: header of the `Done` or `Error` that ends it; empty before.
        stop: why it is being stopped (``cancelled`` or ``timeout``); empty if it is not.
        stop_by: when a worker that does not heed this is killed.
        spares: files that its worker may overwrite before it makes new ones.
        new_files: first of the numbers that it may give to new files.
        worker: number of the worker that has it, or had it last; 0 for none.
    """

    key: int
    owner: str
    share: str
    request: Submit
    created: float
    deadline: float
    frame_file: int
    state: str = "queued"
    steps: list[StoredStep] = field(default_factory=list)
    started: float = 0.0
    finished: float = 0.0
    attempts: int = 0
    end: bytes = b""
    stop: str = ""
    stop_by: float = 0.0
    spares: tuple[int, ...] = ()
    new_files: int = 0
    worker: int = 0

    @property
    def id(self) -> str:
        """The client's name for it."""
        return self.request.id

    def timings(self, now: float) -> dict[str, float]:
        """Seconds: ``queued``, ``running``."""
        until = self.finished or now
        started = self.started or until
        running = max(until - self.started, 0.0) if self.started else 0.0
        return {"queued": max(started - self.created, 0.0), "running": running}

    def status(self, now: float, position: int) -> JobStatus:
        """How it stands, as the client is told."""
        return JobStatus(self.id, self.state, position, len(self.steps), self.timings(now))


class FairQueue:
    """Jobs that wait: clients take turns, each client's own jobs keep their order.

    Args:
        most: jobs in all.
        most_each: jobs of one client.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._waiting: OrderedDict[str, deque[int]] = OrderedDict()
        self._share: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._share)

    def refusal(self, share: str) -> str:
        """Why no further job of this client can wait now; empty if it can."""
        if len(self._share) >= self._most:
            return f"{self._most} jobs are waiting, which is all the queue holds"
        if len(self._waiting.get(share, ())) >= self._most_each:
            return f"{self._most_each} jobs of this client are waiting, which is all one client may have"
        return ""

    def put(self, share: str, key: int, *, first: bool = False) -> None:
        """Append a job to its client's, or put it before all others because it was under way already."""
        waiting = self._waiting.setdefault(share, deque())
        self._share[key] = share
        if first:
            waiting.appendleft(key)
            self._waiting.move_to_end(share, last=False)
        else:
            waiting.append(key)

    def pop(self) -> int | None:
        """The next job; its client goes to the end of the line."""
        if not self._waiting:
            return None
        share, waiting = next(iter(self._waiting.items()))
        key = waiting.popleft()
        del self._share[key]
        self._waiting.move_to_end(share)
        if not waiting:
            del self._waiting[share]
        return key

    def remove(self, key: int) -> None:
        """Take a job out, wherever it stands."""
        share = self._share.pop(key, None)
        if share is None:
            return
        self._waiting[share].remove(key)
        if not self._waiting[share]:
            del self._waiting[share]

    def position(self, key: int) -> int:
        """Its place: 1 comes next; 0 if it does not wait."""
        share = self._share.get(key)
        if share is None:
            return 0
        rounds = self._waiting[share].index(key)
        before = 0
        own_passed = False
        for name, waiting in self._waiting.items():
            own_passed = own_passed or name == share
            before += min(len(waiting), rounds if own_passed else rounds + 1)
        return before + 1
