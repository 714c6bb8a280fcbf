"""One ZeroMQ connection to a server, and how a refused key shows on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ksgen_agent.client.requests import Settings
from ksgen_models.errors import AuthenticationFailed, InvalidInput, KSGenError

_REFUSALS = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_ENOUGH = 3  # handshakes that break off without a reason before that is taken for a refusal
_MOST_MESSAGE = 2**30  # bytes
_MOST_SOCKETS = 2**15  # of all clients of a process
_KEPT = 2**24
"""Bytes that are taken and freed once, untouched: glibc then keeps freed blocks of up to this size for the next ones of
their kind instead of giving each back to the system (malloc(3), M_MMAP_THRESHOLD), which would have every message of a
megabyte arrive in 256 pages that are new and must be cleared first. Other C libraries do as they like."""


class Connection:
    """A DEALER socket. Not to be used by two threads at a time.

    Args:
        context: of the client.
        settings: address and key.

    Raises:
        InvalidInput: the address is none.
    """

    def __init__(self, context: zmq.Context[Any], settings: Settings) -> None:
        self._address = settings.address
        self._has_key = settings.key is not None
        self._broken = 0
        self.socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 500),
            (zmq.RCVHWM, 16),
            (zmq.MAXMSGSIZE, _MOST_MESSAGE),
            (zmq.HEARTBEAT_IVL, 2000),
            (zmq.HEARTBEAT_TIMEOUT, 6000),
            (zmq.RECONNECT_IVL, 100),
            (zmq.RECONNECT_IVL_MAX, 1000),
        ):
            self.socket.setsockopt(option, value)
        if settings.key is not None:
            self.socket.curve_publickey = settings.key.public.encode()
            self.socket.curve_secretkey = settings.key.secret.encode()
            self.socket.curve_serverkey = settings.key.server.encode()
        if "[" in settings.address:
            self.socket.setsockopt(zmq.IPV6, 1)
        self.monitor: zmq.Socket[Any] = self.socket.get_monitor_socket(_REFUSALS)
        try:
            self.socket.connect(settings.address)
        except zmq.ZMQError as exc:
            self.close()
            raise InvalidInput(f"{settings.address!r} is no address ({exc}); give tcp://host:port") from exc
        self._poller = zmq.Poller()
        for socket in (self.socket, self.monitor):
            self._poller.register(socket, zmq.POLLIN)

    def send(self, frames: Sequence[Any]) -> None:
        """Send one message without waiting; where there is no room it is dropped, for the exchange to heal."""
        try:
            self.socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return

    def receive(self, seconds: float) -> list[memoryview] | None:
        """The next message, as views of its frames; None when none arrives for so long.

        Raises:
            AuthenticationFailed: the server refuses this key, or wants one.
        """
        received = self.take()
        if received is not None:
            return received
        arrived = dict(self._poller.poll(int(1000 * seconds) + 1))
        if self.monitor in arrived:
            self.check_refusals()
        return self.take() if self.socket in arrived else None

    def take(self) -> list[memoryview] | None:
        """The next message that has arrived, as views of its frames; None for none."""
        try:
            return [frame.buffer for frame in self.socket.recv_multipart(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None

    def check_refusals(self) -> None:
        """See what the monitor has to say.

        Raises:
            AuthenticationFailed: the server refuses this key, or wants one.
        """
        while self.monitor.poll(0):
            self._check_refusal(int(recv_monitor_message(self.monitor)["event"]))

    def close(self) -> None:
        """End it; what was sent last has half a second to leave."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()

    def _check_refusal(self, event: int) -> None:
        self._broken += 1
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and self._broken < _ENOUGH:
            return  # a server that is just ending looks the same
        hint = (
            "it does not know this key, has another one itself, or has none"
            if self._has_key
            else "it wants a key; pass key="
        )
        raise AuthenticationFailed(f"{self._address} refuses the connection: {hint}")


class Connections:
    """The connections of one client: each exchange borrows one, and a later one may use it again. Thread-safe.

    Args:
        settings: of the client.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = _Shared.borrow()
        self._idle: list[Connection] = []
        self._lent = 0
        self._closed = self._ended = False
        self._guard = threading.Lock()

    def borrow(self) -> Connection:
        """A connection that nobody else uses.

        Raises:
            KSGenError: the client is closed.
            InvalidInput: its address is none.
        """
        with self._guard:
            if self._closed:
                raise KSGenError("this client is closed; make a new one")
            connection = self._idle.pop() if self._idle else Connection(self._context, self._settings)
            self._lent += 1
            return connection

    def give_back(self, connection: Connection, *, clean: bool) -> None:
        """End a loan; only a ``clean`` connection, on which nothing can still be on its way, is used again."""
        with self._guard:
            self._lent -= 1
            if clean and not self._closed:
                self._idle.append(connection)
                return
        connection.close()
        self._end_if_unused()

    def close(self) -> None:
        """Close what is not lent, and the rest when it comes back; a second call does nothing."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._end_if_unused()

    def _end_if_unused(self) -> None:
        with self._guard:
            if not self._closed or self._lent or self._ended:
                return
            self._ended = True
        _Shared.give_back(self._context)


class _Shared:
    """The ZeroMQ context of all clients of a process while there are any, so that one thread moves the bytes, however
    many clients there are."""

    _guard = threading.Lock()
    _context: zmq.Context[Any] | None = None
    _users = 0
    _process = 0

    @classmethod
    def borrow(cls) -> zmq.Context[Any]:
        with cls._guard:
            if cls._context is None or cls._process != os.getpid():  # what a fork inherits it must not use
                cls._context, cls._users, cls._process = zmq.Context(), 0, os.getpid()
                cls._context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
                bytes(_KEPT)
            cls._users += 1
            return cls._context

    @classmethod
    def give_back(cls, context: zmq.Context[Any]) -> None:
        with cls._guard:
            if context is not cls._context or cls._process != os.getpid():
                return
            cls._users -= 1
            if cls._users:
                return
            cls._context = None
        context.term()
