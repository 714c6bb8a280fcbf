"""Memory for messages on their way out, used again and again: asking for new pages for each costs more than sending."""

from __future__ import annotations

from collections import deque

import zmq

_GRAIN = 64 * 1024  # bytes
_MOST_IDLE = 128 * 2**20  # bytes


class Buffers:
    """Buffers that ZeroMQ sends without copying, each free again when it has left."""

    def __init__(self) -> None:
        self._lent: deque[tuple[bytearray, zmq.MessageTracker]] = deque()
        self._bytes = 0

    def take(self, size: int) -> bytearray:
        """A buffer of at least ``size`` bytes that nobody else uses."""
        for place, (buffer, tracker) in enumerate(self._lent):
            if not tracker.done:  # nor are most of those that were sent after it
                break
            if len(buffer) >= size:
                del self._lent[place]
                self._bytes -= len(buffer)
                return buffer
        return bytearray(-(-size // _GRAIN) * _GRAIN)

    def lend(self, buffer: bytearray, tracker: zmq.MessageTracker) -> None:
        """Note that a buffer is being sent; the tracker knows when that is over."""
        if self._bytes + len(buffer) <= _MOST_IDLE:
            self._bytes += len(buffer)
            self._lent.append((buffer, tracker))
