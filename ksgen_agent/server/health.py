"""``/healthz``, ``/livez`` and ``/metrics`` over HTTP, in a thread beside the server's loop.

The thread only reads what the loop left for it, so a scrape costs the loop nothing, and a loop that does not turn any
more is seen from outside. Reading is all that can be done here, and nothing says what a job is about; there are no
keys, so it listens on loopback unless another host is named.
"""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ksgen_agent.server.config import ServerConfig
from ksgen_agent.server.metrics import Metrics
from ksgen_agent.wire.messages import ServerStatus
from ksgen_models.errors import InvalidInput

_log = logging.getLogger("ksgen_agent.server")
STUCK_SECONDS = 10.0  # a loop that has not turned for so long does not serve
_PATIENCE = 5.0  # seconds for a request to arrive, and for its answer to be taken
_MOST_CONNECTIONS = 16


@dataclass(frozen=True)
class Verdict:
    """How a server is.

    Attributes:
        status: ``ok``, ``starting``, ``draining``, ``no worker`` or ``stuck``.
        alive: its loop turns; what does not is to be started again.
        ready: it takes jobs, and a worker is there to do them.
    """

    status: str
    alive: bool
    ready: bool


def judge(status: ServerStatus | None, age: float) -> Verdict:
    """How a server is that left this status so many seconds ago; None if it has not left one yet."""
    if age > STUCK_SECONDS:
        return Verdict("stuck", alive=False, ready=False)
    if status is None or status.state != "serving":
        return Verdict(status.state if status else "starting", alive=True, ready=False)
    if not any(worker["state"] in ("ready", "busy") for worker in status.workers):
        return Verdict("no worker", alive=True, ready=False)
    return Verdict("ok", alive=True, ready=True)


class HealthServer:
    """The HTTP side of one server, in threads of its own.

    Args:
        config: of the server; says where to listen.
        metrics: what ``/metrics`` shows.

    Raises:
        InvalidInput: it cannot listen there.
    """

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self._metrics = metrics
        self._wanted = config.workers
        self._status: ServerStatus | None = None
        self._noted = time.monotonic()
        where = (config.http_host, config.http_port or 0)
        try:
            self._server = _Listener(where, self)
        except OSError as exc:
            raise InvalidInput(f"cannot listen on http://{where[0]}:{where[1]} ({exc}); name another port") from exc
        self._thread = threading.Thread(target=self._server.serve_forever, name="ksgen-http", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where it listens, ``http://host:port``."""
        host, port = self._server.server_address[:2]
        return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"

    def note(self, status: ServerStatus) -> None:
        """Called by the loop, much more often than `STUCK_SECONDS`."""
        self._noted = time.monotonic()
        self._status = status
        self._metrics.note(status)

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status code, content type and body of the answer to a GET."""
        if path == "/metrics":
            body, content_type = self._metrics.render(accept)
            return 200, content_type, body
        if path in ("/healthz", "/livez"):
            verdict = judge(self._status, time.monotonic() - self._noted)
            good = verdict.alive if path == "/livez" else verdict.ready
            return (200 if good else 503), "application/json", json.dumps(self._describe(verdict)).encode() + b"\n"
        return 404, "text/plain", b"there are /healthz, /livez and /metrics\n"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _describe(self, verdict: Verdict) -> dict[str, Any]:
        status = self._status
        if status is None:
            return {"status": verdict.status}
        ready = sum(worker["state"] in ("ready", "busy") for worker in status.workers)
        return {
            "status": verdict.status,
            "uptime": round(status.uptime, 1),
            "workers": {"ready": ready, "wanted": self._wanted},
            "jobs": {"queued": status.counts["queued"], "running": status.counts["running"]},
        }


class _Listener(ThreadingHTTPServer):
    """A thread a connection; when there are too many, the oldest gives way, so that nobody can hold all of them."""

    daemon_threads = True

    def __init__(self, where: tuple[str, int], health: HealthServer) -> None:
        self.health = health
        self._connections: deque[socket.socket] = deque()
        self._guard = threading.Lock()
        if ":" in where[0]:
            self.address_family = socket.AF_INET6
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask the name service who we are

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            if len(self._connections) >= _MOST_CONNECTIONS:
                _hang_up(self._connections.popleft())
            self._connections.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            if request in self._connections:
                self._connections.remove(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._guard:
            for connection in self._connections:
                _hang_up(connection)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("an HTTP connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = _PATIENCE

    def do_GET(self) -> None:
        code, content_type, body = self.server.health.answer(self.path.partition("?")[0], self.headers["Accept"] or "")
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        return "ksgen-agent"

    def log_message(self, format: str, *args: Any) -> None:
        """A probe every few seconds is nothing to log."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is gone already
