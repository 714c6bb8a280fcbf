"""Connections that come to nothing because of their key: seen on a monitor of the socket, counted and logged.

ZeroMQ turns such a connection away by itself and tells the server only here. A key that is not on the list is logged by
`ksgen_agent.server.auth`, which knows more about it.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from ksgen_agent.server.logs import Throttle, fields

_log = logging.getLogger("ksgen_agent.server")
_EVENTS = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_BURST = 1000  # events looked at in one go


class Refusals:
    """What a socket with CURVE refuses without asking anybody.

    Args:
        socket: to be watched, before it is bound.
        counts: where each refusal is counted, by its reason.
    """

    def __init__(self, socket: zmq.Socket[Any], counts: Counter[str]) -> None:
        self._socket, self._counts = socket, counts
        endpoint = f"inproc://refusals-{id(socket)}"
        socket.monitor(endpoint, _EVENTS)
        self._monitor = socket.context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.RCVHWM, 0)  # ZeroMQ's own thread would wait for room, and every client with it
        self._monitor.connect(endpoint)
        self._throttle = Throttle()

    def look(self) -> None:
        """Count and log what happened since the last look."""
        for _ in range(_BURST):
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            reason, sentence = _reason(event["event"], event["value"])
            self._counts[reason] += 1
            held = self._throttle.admit(reason)
            if held is not None:
                address = event["endpoint"].decode("utf-8", "replace")
                _log.warning(sentence, extra=fields(reason=reason, address=address, held_back=held or None))

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)


def _reason(event: int, value: int) -> tuple[str, str]:
    # Without a key both sides find out that the other wants another mechanism: a server that is first reads a mismatch,
    # one that is last finds that the client has hung up.
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL or value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "no_key", "a connection without a key was refused"
    return "wrong_server_key", "a connection made for another server's key was refused"
