"""Who may speak to the server: CURVE for the connection, and the allow-list for every message."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from ksgen_agent.server.keys import KeyFolder
from ksgen_models.errors import AuthenticationFailed

_DOMAIN = "ksgen"
_log = logging.getLogger("ksgen_agent.server")


class OpenGate:
    """No keys: whoever reaches the address is let in, and nobody has a name."""

    refused = 0

    def guard(self, socket: zmq.Socket[Any]) -> None:
        """Nothing to be done."""

    def owner(self, frames: Sequence[zmq.Frame]) -> str:
        """Nobody in particular."""
        return ""

    def close(self) -> None:
        """Nothing to be done."""


class CurveGate:
    """CURVE with one key a client, checked when a connection is made and again with every message, so that revoking a
    key ends connections that stand already.

    Args:
        context: of the sockets to be guarded.
        folder: the keys.

    Raises:
        AuthenticationFailed: the server has no key of its own.
    """

    def __init__(self, context: zmq.Context[Any], folder: Path) -> None:
        from zmq.auth.thread import ThreadAuthenticator

        self._keys = KeyFolder(folder)
        self._doorman = KeyFolder(folder)  # for the authenticator's thread alone
        self._public, self._secret = self._keys.server_pair()
        self.refused = 0
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain=_DOMAIN, credentials_provider=self)

    def guard(self, socket: zmq.Socket[Any]) -> None:
        """Make a socket take encrypted connections of known clients only."""
        socket.curve_server = True
        socket.curve_publickey = self._public
        socket.curve_secretkey = self._secret
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key is let in; called by the authenticator's thread for each new connection."""
        name = self._doorman.name_of(_text(key))
        if name is None:
            self.refused += 1
            _log.warning("a connection with an unknown or revoked key was refused: %s", _text(key)[:40])
        return name is not None

    def owner(self, frames: Sequence[zmq.Frame]) -> str:
        """Name of the client that a message comes from.

        Raises:
            AuthenticationFailed: its key was revoked meanwhile.
        """
        name = self._keys.name_of(str(frames[-1].get("User-Id")))
        if name is None:
            self.refused += 1
            raise AuthenticationFailed("this key is not on the server's list any more; ask its keeper for a new one")
        return name

    def close(self) -> None:
        """End the authenticator's thread."""
        self._authenticator.stop()


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode("ascii", "replace")
