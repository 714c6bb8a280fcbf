"""`FakeServer`: a subgoal server for your own tests, without models, worker processes or files.

::

    with FakeServer(steps) as server, SubgoalClient(server.address) as client:
        imagination = client.imagine(frame, "assemble shelf")
    assert server.submitted[0].task == "assemble shelf"

It speaks the real protocol on a real socket of this machine, so the code under test is the code that will run. What it
answers is up to the test: key steps, an error, a full queue, a broken connection, a server that says nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq

from ksgen_agent.wire import codec, failures
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.blobs import join
from ksgen_agent.wire.key_steps import pack_key_step, pack_plan
from ksgen_models.errors import Cancelled, ProtocolError, ServerBusy
from ksgen_models.types import HAND_KEYPOINTS, HandTrack, KeyStep, Plan, RegionOfMotion

Answer = Sequence[KeyStep] | Callable[[wire.Submit], Iterable[KeyStep]]
_SPEC = {
    "preset": "fake",
    "description": "Answers that a test made up.",
    "fps": 8.0,
    "embedding_dimension": 384,
    "score_names": ["hand_rate"],
    "working_side": 1280,
    "provenance": {},
}
_TURN = 0.005  # seconds


def make_key_step(index: int = 0, description: str = "do it", *, side: int = 64, frames: int = 4) -> KeyStep:
    """A key step of the right shapes, dtypes and ranges, its arrays grey or zero; no hand is in it.

    Args:
        index, description: as in `KeyStep`.
        side: pixels of height and width.
        frames: length of the clip.
    """
    image = np.full((side, side, 3), 128, np.uint8)
    absent = np.full((frames, 2, HAND_KEYPOINTS, 3), np.nan, np.float32)
    nowhere = np.zeros((side, side), np.float32)
    return KeyStep(
        index=index,
        description=description,
        image=image,
        goal=image,
        clip=np.repeat(image[None], frames, axis=0),
        fps=8.0,
        hands=HandTrack(
            absent,
            absent,
            np.zeros((frames, 2), np.float32),
            np.zeros((frames, 2), np.bool_),
            np.zeros((frames, 2), np.bool_),
        ),
        region_of_motion=RegionOfMotion(
            nowhere, np.zeros((side, side), np.bool_), np.zeros((frames, side, side), np.bool_), nowhere
        ),
        scores={"hand_rate": 0.0},
        embedding=np.zeros(384, np.float32),
    )


@dataclass
class _Job:
    request: wire.Submit
    steps: Iterator[KeyStep]
    due: float
    sent: list[list[Any]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    listeners: set[bytes] = field(default_factory=set)
    end: bytes = b""


class FakeServer:
    """A server in a thread of the test.

    Args:
        answer: the key steps of every job; or a function that gets the request and returns them, or raises what the
            client is to raise.
        delay: seconds before each key step.
        busy: so many submissions are refused with `ServerBusy` first.
        retry_after: the hint that goes with it, seconds.

    Attributes:
        address: where clients connect to.
        submitted: the requests that were accepted, in order.
        cancelled: ids of the jobs that clients cancelled.
    """

    def __init__(self, answer: Answer, *, delay: float = 0.0, busy: int = 0, retry_after: float = 0.05) -> None:
        self._answer, self._delay, self._busy, self._retry_after = answer, delay, busy, retry_after
        self._jobs: dict[str, _Job] = {}
        self.submitted: list[wire.Submit] = []
        self.cancelled: list[str] = []
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind("tcp://127.0.0.1:*")
        self.address: str = self._socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")
        self._ended, self._break, self._silent = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ksgen-fake-server", daemon=True)
        self._thread.start()

    def break_connections(self) -> None:
        """Drop every connection, as a server does that is killed and started again; what was made is still known."""
        self._break.set()

    def fall_silent(self) -> None:
        """Receive and say nothing any more, as behind a network that swallows everything."""
        self._silent.set()

    def close(self) -> None:
        """End the thread and the socket; a second call does nothing."""
        self._ended.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            if self._break.is_set():
                self._bind_anew()
            if self._socket.poll(1000 * _TURN):
                peer, *frames = self._socket.recv_multipart()
                if not self._silent.is_set():
                    self._hear(peer, frames)
            if not self._silent.is_set():
                for job in list(self._jobs.values()):
                    self._go_on(job)

    def _bind_anew(self) -> None:
        self._break.clear()
        self._socket.close(linger=0)
        for job in self._jobs.values():
            job.listeners.clear()
        while not self._ended.is_set():
            self._socket = self._context.socket(zmq.ROUTER)
            try:
                self._socket.bind(self.address)
                return
            except zmq.ZMQError:  # the old socket's port is still being released
                self._socket.close(linger=0)
                time.sleep(_TURN)

    def _hear(self, peer: bytes, frames: list[bytes]) -> None:
        name, follow = "", None
        try:
            header, _ = codec.split(frames)
            name = codec.peek_id(header)
            message = codec.decode(header, wire.FROM_CLIENT)
            reply = self._reply(message)
            if isinstance(message, wire.Submit | wire.Fetch) and isinstance(reply, wire.JobStatus):
                follow = message
        except Exception as exc:
            reply = failures.to_message(name, exc)
        self._socket.send_multipart([peer, codec.encode(reply)])
        if follow is not None:
            self._follow(peer, follow)

    def _reply(self, message: wire.FromClient) -> wire.FromServer:
        if isinstance(message, wire.Hello):
            return wire.Spec("fake", "fake", "serving", {}, _SPEC)
        if isinstance(message, wire.Ping):
            return wire.Pong(message.number)
        if isinstance(message, wire.Status) and not message.id:
            return wire.ServerStatus("serving", 0.0, {"jobs": len(self._jobs)}, ())
        if isinstance(message, wire.Submit) and message.id not in self._jobs:
            self._accept(message)
        job = self._jobs.get(message.id)
        if job is None:
            return wire.Error(message.id, "unknown_job", f"there is no job {message.id!r} here")
        if isinstance(message, wire.Cancel) and not job.end:
            self.cancelled.append(message.id)
            job.end = codec.encode(failures.to_message(message.id, Cancelled("the imagination was cancelled")))
        return wire.JobStatus(message.id, "running", 0, len(job.sent))

    def _follow(self, peer: bytes, message: wire.Submit | wire.Fetch) -> None:
        """Send a new listener what was made before it came, and from then on what is made."""
        job = self._jobs[message.id]
        if peer in job.listeners:
            return
        for frames in job.sent[message.start :]:
            self._socket.send_multipart([peer, *frames])
        if job.end:
            self._socket.send_multipart([peer, job.end])
        else:
            job.listeners.add(peer)

    def _accept(self, request: wire.Submit) -> None:
        if self._busy:
            self._busy -= 1
            raise ServerBusy("the queue is full; try again later", retry_after=self._retry_after)
        self.submitted.append(request)
        steps = iter(self._answer(request) if callable(self._answer) else self._answer)
        self._jobs[request.id] = _Job(request, steps, time.monotonic() + self._delay)

    def _go_on(self, job: _Job) -> None:
        """Make the next key step of a job, or its end."""
        if job.end or time.monotonic() < job.due:
            return
        name = job.request.id
        try:
            step = next(job.steps, None)
            if step is None:
                plan = Plan(job.request.task, tuple(job.sentences), 1.0, "fake")
                job.end = codec.encode(wire.Done(name, len(job.sent), pack_plan(plan), {}))
                frames: list[Any] = [job.end]
            else:
                message, pieces = pack_key_step(name, step)
                frames = [codec.encode(message), join(pieces)]
                job.sent.append(frames)
                job.sentences.append(step.description)
        except ProtocolError:
            raise
        except Exception as exc:
            job.end = codec.encode(failures.to_message(name, exc))
            frames = [job.end]
        job.due = time.monotonic() + self._delay
        for peer in job.listeners:
            self._socket.send_multipart([peer, *frames])
        if job.end:
            job.listeners.clear()
