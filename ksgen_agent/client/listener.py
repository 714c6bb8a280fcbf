"""`SubgoalListener`: key steps that a server broadcasts, for whoever wants to look on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq

from ksgen_agent.wire import codec
from ksgen_agent.wire import messages as wire
from ksgen_agent.wire.key_steps import unpack_key_step
from ksgen_agent.wire.keys import ClientKey
from ksgen_models.errors import InvalidInput, SubgoalTimeout
from ksgen_models.types import KeyStep


class SubgoalListener:
    """Iterates over ``(topic, key step)`` of all jobs whose topic begins with ``topic``.

    What is broadcast while nobody listens, or faster than a listener reads, is not kept for it; a client that must have
    every key step submits, or takes up, the job itself.

    Args:
        address: where the server publishes (``ksgen-agent serve --publish``).
        topic: prefix of the topics to hear; empty for all.
        key: a key file, or its contents; None for a server without keys.
        timeout: seconds that the next key step may take.

    Raises:
        InvalidInput: the address is none.
        AuthenticationFailed: the key file cannot be used.
    """

    def __init__(
        self, address: str, topic: str = "", *, key: str | Path | ClientKey | None = None, timeout: float = 600.0
    ) -> None:
        self._timeout = timeout
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.SUB)
        if key is not None:
            pair = key if isinstance(key, ClientKey) else ClientKey.read(key)
            self._socket.curve_publickey = pair.public.encode()
            self._socket.curve_secretkey = pair.secret.encode()
            self._socket.curve_serverkey = pair.server.encode()
        self._socket.setsockopt(zmq.RCVHWM, 64)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 2**30)
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        try:
            self._socket.connect(address)
        except zmq.ZMQError as exc:
            self.close()
            raise InvalidInput(f"{address!r} is no address ({exc}); give tcp://host:port") from exc

    def __iter__(self) -> Iterator[tuple[str, KeyStep]]:
        """Yield key steps as they come.

        Raises:
            SubgoalTimeout: none came in time.
            ProtocolError: what came is none.
        """
        while True:
            if not self._socket.poll(round(1000 * self._timeout)):
                raise SubgoalTimeout(f"no key step was broadcast in {self._timeout:g} s")
            topic, *frames = (frame.buffer for frame in self._socket.recv_multipart(copy=False))
            header, body = codec.split(frames)
            message = codec.decode(header, wire.FROM_SERVER)
            if isinstance(message, wire.Step):
                yield bytes(topic).decode("utf-8", "replace"), unpack_key_step(message, body)

    def close(self) -> None:
        """End the connection; a second call does nothing."""
        self._context.destroy(linger=0)

    def __enter__(self) -> SubgoalListener:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
