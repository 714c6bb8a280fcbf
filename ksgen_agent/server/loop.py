"""The server: its sockets, and the one loop in which everything but generation happens."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import zmq

from ksgen_agent.server import work
from ksgen_agent.server.auth import CurveGate, OpenGate
from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.delivery import Delivery
from ksgen_agent.server.desk import Desk
from ksgen_agent.server.health import HealthServer
from ksgen_agent.server.logs import Throttle, fields
from ksgen_agent.server.metrics import Metrics
from ksgen_agent.server.pool import WorkerPool
from ksgen_agent.server.store import Store
from ksgen_agent.wire import codec, failures
from ksgen_agent.wire import messages as wire
from ksgen_models.errors import AuthenticationFailed, InvalidInput, ProtocolError

_log = logging.getLogger("ksgen_agent.server")
_TICK = 0.1  # seconds between two looks at deadlines and workers
_REPORT = 0.5  # seconds between two looks at how the server stands, for those who ask over HTTP
_BURST = 64  # messages taken from one socket before the others have their turn
_LAST_WORDS = 5000  # milliseconds for what was sent last to leave after a drain
_WAITING_IN, _WAITING_OUT = 8, 64  # messages that a connection may have waiting, in and out


class Server:
    """A subgoal server; `run` serves until `drain` or `stop`.

    The sockets are bound at once, so `address` is known and clients may connect before `run`.

    Args:
        config: see `ServerConfig`.

    Raises:
        InvalidInput: the address cannot be listened on.
        DatasetError: the store is in use or is none.
        AuthenticationFailed: there should be keys and there are none.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._store = Store(config.store, config.store_bytes, config.store_seconds)
        self._context: zmq.Context[Any] = zmq.Context()
        self._private = tempfile.TemporaryDirectory(prefix="ksgen-")  # mode 700
        self._gate: OpenGate | CurveGate | None = None
        self._pool: WorkerPool | None = None
        self._drain_by: float | None = None
        self._stopped = False
        self._throttle = Throttle()
        self._health: HealthServer | None = None
        self._next_report = 0.0
        try:
            self._gate = CurveGate(self._context, config.keys) if config.keys else OpenGate()
            self._clients = self._listen(zmq.ROUTER, config.address)
            self._publisher = self._listen(zmq.PUB, config.publish) if config.publish else None
            self._workers = self._context.socket(zmq.ROUTER)
            self._workers.setsockopt(zmq.RCVHWM, 0)
            self._workers.setsockopt(zmq.SNDHWM, 0)
            endpoint = f"ipc://{Path(self._private.name) / 'workers'}"
            self._workers.bind(endpoint)
            self._pool = WorkerPool(config, self._workers, endpoint)
            self._delivery = Delivery(self._clients, self._store)
            publish = self._broadcast if self._publisher else None
            metrics = Metrics(config) if config.http_port is not None else None
            self._desk = Desk(
                config, self._store, self._pool, self._delivery, publish, metrics, turned_away=self._gate.refusals
            )
            if metrics:
                self._health = HealthServer(config, metrics)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """Where clients connect to, with the port that was really taken."""
        return _endpoint(self._clients)

    @property
    def publish_address(self) -> str | None:
        """Where subscribers connect to."""
        return _endpoint(self._publisher) if self._publisher else None

    @property
    def http_address(self) -> str | None:
        """Where ``/metrics`` and ``/healthz`` are."""
        return self._health.address if self._health else None

    def drain(self) -> None:
        """Take no more jobs, let the running ones finish, then end; a second call ends at once.

        Waiting jobs stay in the store for the next start. May be called from a signal handler or another thread.
        """
        if self._drain_by is not None:
            self._stopped = True
        self._drain_by = time.monotonic() + self._config.drain_seconds

    def stop(self) -> None:
        """End at once; what is not finished is taken up by the next start."""
        self._stopped = True

    def run(self) -> None:
        """Serve, then release everything.

        Raises:
            KSGenError: the imaginer cannot be loaded, e.g. `WeightsMissing`.
        """
        poller = zmq.Poller()
        poller.register(self._clients, zmq.POLLIN)
        poller.register(self._workers, zmq.POLLIN)
        wait, next_tick = None, 0.0
        try:
            while not self._ended(idle=wait is None):
                ready = dict(poller.poll(round(1000 * (_TICK if wait is None else wait))))
                if self._workers in ready:
                    self._hear_workers()
                if self._clients in ready:
                    self._hear_clients()
                if (now := time.monotonic()) >= next_tick:
                    next_tick = now + _TICK
                    self._desk.draining = self._drain_by is not None
                    self._desk.tick()
                    self._report(now)
                self._desk.assign()
                self._store.commit()
                wait = self._delivery.pump()
        finally:
            self.close()

    def close(self) -> None:
        """End the workers and release sockets and store; `run` does so itself."""
        if self._health:
            self._health.close()
        if self._pool:
            self._pool.close()
        if self._gate:
            self._gate.close()
        self._context.destroy(linger=_LAST_WORDS if self._drain_by else 500)
        self._store.close()
        self._private.cleanup()

    def _ended(self, *, idle: bool) -> bool:
        if self._stopped:
            return True
        finished = idle and not self._desk.busy()
        return self._desk.draining and (finished or time.monotonic() > (self._drain_by or 0))

    def _report(self, now: float) -> None:
        """Note who was turned away, and give whoever asks over HTTP something to see."""
        self._gate.look()  # type: ignore[union-attr]
        if self._health and now >= self._next_report:
            self._next_report = now + _REPORT
            self._health.note(self._desk.server_status())

    def _hear_workers(self) -> None:
        for _ in range(_BURST):
            try:
                peer, header, *body = self._workers.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = codec.decode(header, work.FROM_WORKER)
            error = self._desk.hear(peer, message, body[0] if body else b"", time.monotonic())
            if error is not None:
                raise error

    def _hear_clients(self) -> None:
        for _ in range(_BURST):
            try:
                frames = self._clients.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._hear_client(frames)

    def _hear_client(self, frames: list[zmq.Frame]) -> None:
        peer = frames[0].bytes
        header = memoryview(b"")
        try:
            owner = self._gate.owner(frames)  # type: ignore[union-attr]
            header, body = codec.split([frame.buffer for frame in frames[1:]])
            message = codec.decode(header, wire.FROM_CLIENT)
        except codec.VersionMismatch as exc:
            self._refuse(peer, wire.Error(codec.peek_id(header), "version", str(exc)))
        except (ProtocolError, AuthenticationFailed) as exc:
            self._refuse(peer, failures.to_message(codec.peek_id(header), exc))
        else:
            self._desk.answer(peer, owner, message, body)

    def _refuse(self, peer: bytes, error: wire.Error) -> None:
        self._desk.count_refusal(error.code)
        held = None if error.code == "authentication" else self._throttle.admit(error.code)  # the gate logs those
        if held is not None:
            more = fields(code=error.code, why=error.message, job=error.id or None, held_back=held or None)
            _log.warning("a message was refused", extra=more)
        self._delivery.tell(peer, codec.encode(error))

    def _listen(self, kind: int, address: str) -> zmq.Socket[Any]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.SNDHWM, _WAITING_OUT)
        socket.setsockopt(zmq.MAXMSGSIZE, self._config.most_frame_bytes + codec.MOST_HEADER_BYTES)
        # A connection that is dead without having been closed is noticed and its memory freed.
        socket.setsockopt(zmq.HEARTBEAT_IVL, 5000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15000)
        socket.setsockopt(zmq.HANDSHAKE_IVL, 10000)
        socket.setsockopt(zmq.BACKLOG, 1024)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.RCVHWM, _WAITING_IN)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if "[" in address:
            socket.setsockopt(zmq.IPV6, 1)
        self._gate.guard(socket)  # type: ignore[union-attr]
        try:
            socket.bind(address)
        except zmq.ZMQError as exc:
            raise InvalidInput(f"cannot listen on {address} ({exc}); name another address with --bind") from exc
        return socket

    def _broadcast(self, topic: str, header: bytes, body: bytes | memoryview) -> None:
        if self._publisher:
            self._publisher.send_multipart([topic.encode(), header, body], zmq.NOBLOCK, copy=False)


def _endpoint(socket: zmq.Socket[Any]) -> str:
    """The address that a socket is really bound to."""
    return socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
