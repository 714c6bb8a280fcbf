"""Who is being sent which job, from which key step on.

Key steps are read from the store when they are sent, so a client that reads slowly costs the server no memory: its
connection takes a few messages, and delivery goes on when it has room again.
"""

from __future__ import annotations

import logging
import mmap
from collections import defaultdict
from collections.abc import Iterable

import zmq

from ksgen_agent.server.jobs import Job
from ksgen_agent.server.logs import fields
from ksgen_agent.server.outgoing import Outgoing
from ksgen_agent.server.store import Store
from ksgen_agent.wire import codec
from ksgen_agent.wire.messages import Error

_log = logging.getLogger("ksgen_agent.server")
MOST_LISTENERS = 16  # connections that follow one job
_ROUND = 4  # key steps sent to one connection before the others, and what came in meanwhile, have their turn
_WORTH_MAPPING = 64 * 1024  # bytes; less is sooner read
_NOW_AND_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_STALL = 0.002  # seconds after which a connection that had no room is tried again


class Delivery:
    """The way of finished key steps to the clients.

    Args:
        socket: the clients' ROUTER, with ROUTER_MANDATORY set.
        store: where key steps are.
    """

    def __init__(self, socket: zmq.Socket[bytes], store: Store) -> None:
        self._socket, self._store = socket, store
        self._next: defaultdict[int, dict[bytes, int]] = defaultdict(dict)
        self._jobs: dict[int, Job] = {}
        self._waiting: dict[int, None] = {}  # jobs with something to send, in order
        self._replies: list[list[bytes]] = []
        self._outgoing = Outgoing()
        self.sent = 0

    def follow(self, peer: bytes, job: Job, start: int) -> None:
        """Send this connection the job's key steps from ``start`` on, then its end; one that follows it already goes on
        where it is."""
        listeners = self._next[job.key]
        if peer not in listeners:
            if len(listeners) >= MOST_LISTENERS:
                listeners.pop(next(iter(listeners)))
            listeners[peer] = start
        self._jobs[job.key] = job
        self.wake(job.key)

    def find(self, key: int) -> Job | None:
        """The job, if anybody follows it."""
        return self._jobs.get(key)

    def wake(self, key: int) -> None:
        """A job has something new for whoever follows it."""
        if key in self._jobs:
            self._waiting[key] = None

    def pump(self) -> float | None:
        """Send replies, then of each job as much as its turn allows; seconds after which to call again, None for when
        there is news."""
        self._send_replies()
        again: dict[int, float] = {}
        for key in self._waiting:
            job = self._jobs[key]
            for peer in list(self._next[key]):
                wait = self._send(peer, job)
                if wait is not None:
                    again[key] = min(wait, again.get(key, wait))
            if not self._next[key]:
                del self._next[key], self._jobs[key]
        self._waiting = dict.fromkeys(again)
        return min(again.values(), default=None)

    def keys(self) -> Iterable[int]:
        """The jobs that somebody follows."""
        return self._jobs.keys()

    def leaving(self) -> set[int]:
        """The jobs whose files are still being read, by ZeroMQ."""
        return self._outgoing.jobs()

    def tell(self, peer: bytes, header: bytes) -> None:
        """Have a message without body sent with the next `pump`, that is when what it says is in the store."""
        self._replies.append([peer, header])

    def _send_replies(self) -> None:
        for reply in self._replies:
            try:
                self._socket.send_multipart(reply, zmq.NOBLOCK)
            except zmq.ZMQError as exc:  # a connection that is gone or takes nothing misses it, and asks again
                if exc.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                    raise
        self._replies.clear()

    def _send(self, peer: bytes, job: Job) -> float | None:
        """Send one connection some of what it lacks; seconds after which there is more to do, None for nothing."""
        listeners = self._next[job.key]
        for _ in range(_ROUND):
            step = listeners[peer]
            if step >= len(job.steps) and not job.end:
                return None
            try:
                # A connection that is gone or has no room shows here, before anything is read for it.
                self._socket.send(peer, _NOW_AND_MORE)
            except zmq.ZMQError as exc:
                if exc.errno == zmq.EAGAIN:
                    return _STALL
                if exc.errno != zmq.EHOSTUNREACH:
                    raise
                del listeners[peer]
                return None
            if not self._send_step(job, step):
                del listeners[peer]
                return None
            listeners[peer] = step + 1
        return 0.0

    def _send_step(self, job: Job, step: int) -> bool:
        """Send the rest of a message whose first frame, the connection, has been sent; False when it was the last."""
        if step >= len(job.steps):
            self._socket.send(job.end)
            return False
        header, size, file = job.steps[step]
        mapped = size >= _WORTH_MAPPING and not self._outgoing.full()
        try:
            body = self._store.map(file, size) if mapped else self._store.read(file, size)
        except OSError as exc:
            _log.error("a finished key step cannot be read", extra=fields(job=job.id, step=step, error=str(exc)))
            text = f"key step {step} was finished and cannot be read any more; submit the task again under a new id"
            self._socket.send(codec.encode(Error(job.id, "internal", text)))
            return False
        self._socket.send(header, zmq.SNDMORE)
        self._socket.send(body, copy=False)
        if isinstance(body, mmap.mmap):
            self._outgoing.note(job.key, body)
        self.sent += 1
        return True
