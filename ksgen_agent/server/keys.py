"""The server's keys: its own CURVE pair, and the list of the clients that it lets in.

The folder holds ``server.json`` (the server's pair, mode 600) and ``clients.json``: name, public key and date of each
client, and the same of those that were revoked, so that the log can say whose key was tried. The list is looked at
again whenever its file has changed, so adding and revoking work while the server runs.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksgen_agent.wire.keys import ClientKey, is_z85_key, write_private
from ksgen_models.errors import AuthenticationFailed, InvalidInput

_log = logging.getLogger("ksgen_agent.server")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Client:
    """One entry of the allow-list; ``created`` is a date, ``public`` is in Z85."""

    name: str
    public: str
    created: str


class KeyFolder:
    """The keys of one server.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._stamp: tuple[int, ...] | None = None
        self._names: dict[str, str] = {}
        self._revoked: dict[str, str] = {}

    def exists(self) -> bool:
        """Whether there is a server key."""
        return self._server_file.exists()

    def server_pair(self) -> tuple[bytes, bytes]:
        """The server's public and secret key.

        Raises:
            AuthenticationFailed: there is none, or it is damaged.
        """
        try:
            record = json.loads(self._server_file.read_text("utf-8"))
            public, secret = record["public"], record["secret"]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise AuthenticationFailed(
                f"{self._server_file} cannot be read ({exc!r}); make keys with: ksgen-agent keys new NAME"
            ) from exc
        if not is_z85_key(public) or not is_z85_key(secret):
            raise AuthenticationFailed(f"{self._server_file} is damaged; move the folder away and make new keys")
        return public.encode(), secret.encode()

    def new_client(self, name: str, file: Path) -> ClientKey:
        """Let a new client in and write its key file; makes the server's own pair if there is none.

        Raises:
            InvalidInput: the name is taken or no name, or the file exists.
        """
        import zmq

        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name for a key; use letters, digits, '_', '.' and '-'")
        if file.exists():
            raise InvalidInput(f"{file} exists; name another file with --out")
        with _Locked(self.folder):
            clients = self.clients()
            if any(client.name == name for client in clients):
                raise InvalidInput(f'there is a key "{name}" already; revoke it first or choose another name')
            if not self.exists():
                self._new_server()
            public, secret = (key.decode() for key in zmq.curve_keypair())
            key = ClientKey(name, public, secret, self.server_pair()[0].decode())
            key.write(file)
            self._write([*clients, Client(name, public, time.strftime("%Y-%m-%d"))], self._read("revoked"))
        return key

    def revoke(self, name: str) -> None:
        """Let a client in no more; a running server heeds this with the client's next message.

        Raises:
            InvalidInput: there is no such key.
        """
        with _Locked(self.folder):
            clients = self.clients()
            gone = [client for client in clients if client.name == name]
            if not gone:
                known = ", ".join(client.name for client in clients) or "none"
                raise InvalidInput(f'there is no key "{name}"; there are: {known}')
            self._write([client for client in clients if client.name != name], [*self._read("revoked"), *gone])

    def clients(self) -> list[Client]:
        """The allow-list.

        Raises:
            AuthenticationFailed: its file is damaged.
        """
        return self._read("clients")

    def _read(self, part: str) -> list[Client]:
        try:
            records = json.loads(self._clients_file.read_text("utf-8")).get(part, [])
            return [Client(item["name"], item["public"], item["created"]) for item in records]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise AuthenticationFailed(f"{self._clients_file} is damaged ({exc!r}); nobody is let in") from exc

    def name_of(self, public: str) -> str | None:
        """Name of the client with this key as the list stands now; None for one that is not let in."""
        try:
            found = os.stat(self._clients_file)
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp = ()
        if stamp != self._stamp:
            try:
                self._names = {client.public: client.name for client in self.clients()}
                self._revoked = {client.public: client.name for client in self._read("revoked")}
            except AuthenticationFailed as exc:
                _log.error("%s", exc)
                self._names = {}
            self._stamp = stamp
        return self._names.get(public)

    def revoked_name(self, public: str) -> str | None:
        """Name of the client whose key this was before it was revoked, as of the last `name_of`."""
        return self._revoked.get(public)

    @property
    def _server_file(self) -> Path:
        return self.folder / "server.json"

    @property
    def _clients_file(self) -> Path:
        return self.folder / "clients.json"

    def _new_server(self) -> None:
        import zmq

        public, secret = (key.decode() for key in zmq.curve_keypair())
        write_private(self._server_file, json.dumps({"public": public, "secret": secret}, indent=1) + "\n")

    def _write(self, clients: list[Client], revoked: list[Client]) -> None:
        records = {"clients": [vars(client) for client in clients], "revoked": [vars(client) for client in revoked]}
        partial = self._clients_file.with_suffix(f".{os.getpid()}.part")
        partial.unlink(missing_ok=True)
        write_private(partial, json.dumps(records, indent=1) + "\n")
        partial.replace(self._clients_file)


class _Locked:
    """Holds a folder against other writers; makes it where it is missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *exc_info: Any) -> None:
        os.close(self._handle)
