"""A real HTTP server on loopback that misbehaves as it is told to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

Act = bytes | Callable[[socket.socket], None]


class BadEndpoint:
    """Answers the n-th request with the n-th act, later ones with the last; ``GET /models`` from a list of its own.

    An act is what is sent as it is, or a function of the connection.

    Attributes:
        url: of the server.
        requests: the JSON bodies of the requests received.
        headers: their header blocks.
    """

    def __init__(self, *acts: Act, models: bytes | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self._acts = acts
        self._models = models
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> BadEndpoint:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._listener.close()

    def hang(self, connection: socket.socket) -> None:
        """Say nothing until the caller goes away or the test is over."""
        connection.settimeout(0.05)
        while not self._over.is_set():
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def drip(self, connection: socket.socket) -> None:
        """Send a header that never ends, a byte at a time, which no limit on a single read notices."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not self._over.is_set():
            try:
                connection.sendall(b"a")
            except OSError:
                return
            time.sleep(0.01)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            lines = list(iter(reader.readline, b"\r\n"))
            head = b"".join(lines).decode("latin-1")
            if lines[0].startswith(b"GET /v1/models") and self._models is not None:
                connection.sendall(self._models)
                return
            length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length")), 0)
            self.requests.append(json.loads(reader.read(length) or b"{}"))
            self.headers.append(head)
            act = self._acts[min(len(self.requests), len(self._acts)) - 1]
            try:
                if isinstance(act, bytes):
                    connection.sendall(act)
                else:
                    act(connection)
            except OSError:
                return


def http(body: bytes | str, status: int = 200, headers: str = "", length: int | None = None) -> bytes:
    """A whole HTTP reply; ``length`` announces another size than the body's."""
    data = body.encode() if isinstance(body, str) else body
    size = len(data) if length is None else length
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {size}\r\n\r\n".encode("latin-1") + data


def completion(text: object, finish: str = "stop") -> bytes:
    """A chat completion whose message is ``text``."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    return http(json.dumps({"object": "chat.completion", "choices": [choice]}))


def plan_of(*steps: str) -> bytes:
    """A chat completion with a plan in it."""
    return completion(json.dumps({"steps": steps}))
