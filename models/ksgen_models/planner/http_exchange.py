"""One HTTP request with a time limit on connecting and one on the whole, and a limit on what comes back.

Python's own client, `http.client`, limits the time of a single read only: a server that sends a byte a second would
hold its caller for ever. Here a timer shuts the socket down when the time is over, wherever the exchange stands.
Redirects are not followed (a key would travel with them) and proxies are not used.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ksgen_models.errors import InvalidInput, ProtocolError, RemoteError, ServerLost, SubgoalTimeout


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        secure: TLS.
        host: name or address.
        port: TCP port.
        path: what every path begins with, without a slash at its end; may be empty.
    """

    secure: bool
    host: str
    port: int
    path: str

    @property
    def is_loopback(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


@dataclass(frozen=True)
class Reply:
    """What came back: the HTTP status, the headers with lower-case names, and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def parse_address(url: str) -> Address:
    """Take a URL such as ``http://127.0.0.1:8000/v1`` apart.

    Raises:
        InvalidInput: it is not an http or https URL, or holds a user name, a query or a fragment.
    """
    text = str(url)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise InvalidInput(f"{url!r} is not a URL ({exc}); pass one such as http://127.0.0.1:8000/v1") from exc
    spelt = text.isascii() and text.isprintable() and " " not in text
    bare = not (parts.username or parts.password or parts.query or parts.fragment)
    if not (spelt and bare and parts.hostname and parts.scheme in ("http", "https")):
        raise InvalidInput(f"{url!r} is not the URL of a server; pass one such as http://127.0.0.1:8000/v1")
    secure = parts.scheme == "https"
    return Address(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))


def exchange(
    address: Address,
    method: Literal["GET", "POST"],
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    connect_limit: float,
    deadline: float,
    most_bytes: int,
) -> Reply:
    """Send one request and read the reply.

    Args:
        address: the server.
        method: GET or POST.
        path: after the address's own path, with a slash before it.
        body: of a POST.
        headers: besides those that HTTP itself needs.
        connect_limit: seconds for connecting (for each address that the name has), TLS included.
        deadline: for the whole, on the clock of `time.monotonic`.
        most_bytes: of the reply's body; nothing larger is read or stored.

    Raises:
        SubgoalTimeout: either time limit ran out.
        ServerLost: nobody answers there, or the connection broke.
        ProtocolError: what came is not HTTP, or is too large.
    """
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise SubgoalTimeout(f"no time is left to ask {address}; allow more")
    kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=min(connect_limit, remaining))
    expired = threading.Event()
    timer = threading.Timer(remaining, _cut, [connection, expired])
    timer.daemon = True
    timer.start()
    try:
        _connect(connection, address)
        if expired.is_set():
            raise TimeoutError("connecting took all the time")
        reply = _talk(connection, address, method, address.path + path, body, headers or {}, remaining, most_bytes)
        # To a reader, a socket that was shut down looks like the end of the reply.
        if expired.is_set():
            raise TimeoutError("shut down by the timer")
        return reply
    except (OSError, http.client.HTTPException, RemoteError) as exc:
        if expired.is_set() or time.monotonic() >= deadline:
            raise SubgoalTimeout(f"{address} did not answer in {remaining:.1f} s; allow more or ask for less") from exc
        if isinstance(exc, RemoteError):
            raise
        if isinstance(exc, OSError | http.client.IncompleteRead):
            raise ServerLost(f"the connection to {address} broke ({exc!r:.200})") from exc
        raise ProtocolError(f"{address} does not speak HTTP ({exc!r:.200}); is the URL right?") from exc
    finally:
        timer.cancel()
        connection.close()


def _connect(connection: http.client.HTTPConnection, address: Address) -> None:
    try:
        connection.connect()
    except TimeoutError as exc:
        raise SubgoalTimeout(f"could not connect to {address} in {connection.timeout:.1f} s; is it reachable?") from exc
    except OSError as exc:
        raise ServerLost(f"nobody answers at {address} ({exc}); is the server running?") from exc


def _talk(
    connection: http.client.HTTPConnection,
    address: Address,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    remaining: float,
    most_bytes: int,
) -> Reply:
    connection.sock.settimeout(remaining)
    connection.request(method, path, body, {"Connection": "close", **headers})
    response = connection.getresponse()
    if (response.length or 0) > most_bytes:
        raise ProtocolError(f"{address} announces {response.length:,} bytes, the most is {most_bytes:,}")
    data = response.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ProtocolError(f"{address} sent more than {most_bytes:,} bytes")
    if response.length:
        raise ServerLost(f"{address} broke off {response.length:,} bytes before the end of its reply")
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, data)


def _cut(connection: http.client.HTTPConnection, expired: threading.Event) -> None:
    """End every read and write of the connection, from another thread."""
    expired.set()
    # TypeError: there is no socket yet.
    with contextlib.suppress(OSError, TypeError):
        # The plain socket's own method: that of a TLS socket takes the state away under the reader's feet.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
