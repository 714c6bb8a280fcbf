"""`SubgoalClient`: the blocking client."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ksgen_agent.client import requests
from ksgen_agent.client.connection import Connection, Connections
from ksgen_agent.client.exchange import Exchange, Imagining, check_reply
from ksgen_agent.client.limits import Limits
from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd, exhaust
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.keys import ClientKey
from ksgen_models.errors import Cancelled, RemoteError
from ksgen_models.types import KeyStep

DEFAULT_ADDRESS = "tcp://127.0.0.1:7447"
_LOOK = 0.05  # seconds between two looks at a caller's cancel event


class SubgoalClient:
    """Imagines on a server; satisfies `ksgen_agent.Imaginer`, as the local `Agent` does.

    Needs numpy, pyzmq and msgpack only. Any number of threads may use one client; each stream has a connection of its
    own, which a later one may use again. Use it as a context manager or call `close`.

    Args:
        address: where the server listens.
        key: a key file from ``ksgen-agent keys new``, or its contents; None for a server without keys.
        limits: time limits, see `Limits`.
        name: under which this client's jobs take turns with those of others on a server without keys; the machine and
            process unless told otherwise.
        frames: how arrays travel to the server: ``"raw"``, ``"png"`` or ``"jpeg"`` (loses detail). Frames may also be
            passed as the bytes of a JPEG or PNG file, which travel as they are.
        images: how key-step images come back: ``"raw"``, ``"png"`` or ``"jpeg"``.
        clip: how clips come back: ``"raw"`` or ``"mp4"`` (H.264, loses detail). All but ``"raw"`` need Pillow or PyAV.

    Raises:
        InvalidInput: an argument makes no sense.
        AuthenticationFailed: the key file cannot be used.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        key: str | Path | ClientKey | None = None,
        limits: Limits | None = None,
        name: str | None = None,
        frames: str = "raw",
        images: str = "raw",
        clip: str = "raw",
    ) -> None:
        self._settings = requests.make_settings(address, key, limits, name, frames, images, clip)
        self._connections = Connections(self._settings)
        self._server: wire.Spec | None = None
        self._spec: ImaginerSpec | None = None

    @property
    def spec(self) -> ImaginerSpec:
        """What the server's imaginer is; waits for a server that is still loading it.

        Raises:
            SubgoalTimeout: no server answered, or it was not ready within ``limits.first_step``.
        """
        if self._spec is None:
            self._hello()
            question = requests.ask_spec(self._settings.limits.first_step, ready=True)
            self._spec = requests.read_spec(self._answer(question, wire.Spec))
        return self._spec

    def imagine(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
        request_id: str | None = None,
        topic: str = "",
    ) -> Imagination:
        """Imagine the whole task; see `imagine_stream` for arguments and errors."""
        asked = self._ask(
            frame,
            task,
            seed=seed,
            allow_out_of_domain=allow_out_of_domain,
            candidates=candidates,
            least_trust=least_trust,
            from_here=from_here,
            deadline=deadline,
            request_id=request_id,
            topic=topic,
        )
        return asked.imagination(*exhaust(self._drive(asked.exchange, cancel)))

    def imagine_stream(
        self,
        frame: Any,
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
        from_here: bool = True,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
        request_id: str | None = None,
        topic: str = "",
    ) -> Generator[KeyStep, None, StreamEnd]:
        """Yield each key step as soon as the server has made it; return plan and timings.

        Unusable input is refused by the call itself; the job is submitted with the first ``next``. Closing the
        generator cancels the job. Arrays that came raw are read-only views of the received message.

        Args:
            frame: (H, W, 3) uint8 RGB, a Pillow image (see `ksgen_agent.frames.check_frame`), or the bytes of a JPEG or
                PNG file.
            task: what is to be done, in words.
            seed: the same seed gives the same result.
            allow_out_of_domain: go on although the frame is of a kind the models do not know.
            candidates, least_trust, from_here: as `ksgen_agent.Agent.imagine` takes them; a server draws no more
                candidates than its limit of this name says.
            deadline: seconds that it may take, instead of ``limits.job``.
            cancel: set it from another thread to stop.
            request_id: the job's id, so that `take_up` can find it again, also from another process; a new one is
                chosen unless told otherwise. The same id with the same request is the same job.
            topic: broadcast the key steps under this topic as well, where the server publishes.

        Raises:
            InvalidFrame, InvalidTask, InvalidInput: the input cannot be used.
            UnknownTask, LowConfidence, …: whatever the server's imaginer raised.
            ServerBusy: its queue is full; carries when to try again.
            SubgoalTimeout: a time limit ran out.
            ServerLost: the connection broke and did not come back.
            AuthenticationFailed: the server refuses the key.
            Cancelled: ``cancel`` was set, or the job was cancelled elsewhere.
            ProtocolError: the server does not speak this protocol.
        """
        asked = self._ask(
            frame,
            task,
            seed=seed,
            allow_out_of_domain=allow_out_of_domain,
            candidates=candidates,
            least_trust=least_trust,
            from_here=from_here,
            deadline=deadline,
            request_id=request_id,
            topic=topic,
        )
        return self._drive(asked.exchange, cancel)

    def take_up(self, request_id: str) -> Generator[KeyStep, None, StreamEnd]:
        """Yield the key steps of a job that was submitted before, from the first on, finished ones at once.

        Raises:
            ProtocolError: the server knows no such job (any more).
            KSGenError: as for `imagine_stream`.
        """
        return self._drive(Imagining(None, None, requests.check_id(request_id), self._settings.limits), None)

    def status(self, request_id: str) -> wire.JobStatus:
        """How a job stands."""
        return self._answer(requests.ask_job(wire.Status(requests.check_id(request_id)), self._connect), wire.JobStatus)

    def cancel(self, request_id: str) -> wire.JobStatus:
        """Stop a job, whoever listens to it."""
        return self._answer(requests.ask_job(wire.Cancel(requests.check_id(request_id)), self._connect), wire.JobStatus)

    def server_status(self) -> wire.ServerStatus:
        """How the server stands: queue, jobs, workers, bytes stored."""
        return self._answer(requests.ask_server(self._connect), wire.ServerStatus)

    def ping(self) -> float:
        """Seconds that a small message takes there and back."""
        began = time.perf_counter()
        self._answer(requests.ask_ping(time.monotonic_ns(), self._connect), wire.Pong)
        return time.perf_counter() - began

    def close(self) -> None:
        """Close all connections; those in use close when their stream ends. A second call does nothing."""
        self._connections.close()

    def __enter__(self) -> SubgoalClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def _connect(self) -> float:
        return self._settings.limits.connect

    def _hello(self) -> wire.Spec:
        server = self._server
        if server is None:
            server = self._server = self._answer(requests.ask_spec(self._connect, ready=False), wire.Spec)
        return server

    def _ask(self, frame: Any, task: str, **choice: Any) -> requests.Asked:
        return requests.ask(self._settings, self._hello(), frame, task, **choice)

    def _answer(self, question: Exchange, kind: type[Any]) -> Any:
        for _ in self._drive(question, None):
            raise RemoteError("a question has no key steps")
        return check_reply(question.result, kind)

    def _drive(self, exchange: Exchange, cancel: threading.Event | None) -> Generator[KeyStep, None, Any]:
        """Run an exchange on a connection; the clock stands still while the caller has a key step."""
        connection = self._connections.borrow()
        paused, received, sent, clean = 0.0, None, 0, False
        try:
            while True:
                turn = exchange.advance(time.monotonic() - paused, received)
                for message in turn.send:
                    connection.send(message)
                sent += len(turn.send)
                for step in turn.steps:
                    left = time.monotonic()
                    yield step
                    paused += time.monotonic() - left
                if turn.ended:
                    # Only then can nothing of this exchange still be on its way.
                    clean = sent == 1
                    return exchange.result
                received = _receive(connection, turn.wait, cancel)
        finally:
            for message in exchange.abandon():
                connection.send(message)
            self._connections.give_back(connection, clean=clean)


def _receive(connection: Connection, wait: float, cancel: threading.Event | None) -> list[memoryview] | None:
    """Wait for a message at most so long, looking at the caller's event meanwhile."""
    if cancel is None:
        return connection.receive(wait)
    ends = time.monotonic() + wait
    while not cancel.is_set():
        left = ends - time.monotonic()
        received = connection.receive(min(max(left, 0.0), _LOOK))
        if received is not None or left <= 0:
            return received
    raise Cancelled("the imagination was cancelled")
