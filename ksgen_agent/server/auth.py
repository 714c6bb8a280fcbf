"""Who may speak to the server: CURVE for the connection, and the allow-list for every message."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from ksgen_agent.server.keys import KeyFolder
from ksgen_agent.server.logs import Throttle, fields
from ksgen_agent.server.refusals import Refusals
from ksgen_models.errors import AuthenticationFailed

_DOMAIN = "ksgen"
_log = logging.getLogger("ksgen_agent.server")


class OpenGate:
    """No keys: whoever reaches the address is let in, and nobody has a name.

    Attributes:
        refusals: by reason; none.
    """

    def __init__(self) -> None:
        self.refusals: Counter[str] = Counter()

    def guard(self, socket: zmq.Socket[Any]) -> None:
        """Nothing to be done."""

    def owner(self, frames: Sequence[zmq.Frame]) -> str:
        """Nobody in particular."""
        return ""

    def look(self) -> None:
        """Nothing to be done."""

    def close(self) -> None:
        """Nothing to be done."""


class CurveGate:
    """CURVE with one key a client, checked when a connection is made and again with every message, so that revoking a
    key ends connections that stand already.

    Args:
        context: of the sockets to be guarded.
        folder: the keys.

    Attributes:
        refusals: how often somebody was turned away, by reason: ``no_key``, ``wrong_server_key``, ``unknown_key``,
            ``revoked_key``.

    Raises:
        AuthenticationFailed: the server has no key of its own.
    """

    def __init__(self, context: zmq.Context[Any], folder: Path) -> None:
        from zmq.auth.thread import ThreadAuthenticator

        self._keys = KeyFolder(folder)
        self._doorman = KeyFolder(folder)  # for the authenticator's thread alone
        self._public, self._secret = self._keys.server_pair()
        self.refusals: Counter[str] = Counter()
        self._throttle = Throttle()
        self._watched: list[Refusals] = []
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain=_DOMAIN, credentials_provider=self)

    def guard(self, socket: zmq.Socket[Any]) -> None:
        """Make a socket take encrypted connections of known clients only."""
        socket.curve_server = True
        socket.curve_publickey = self._public
        socket.curve_secretkey = self._secret
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN.encode())
        self._watched.append(Refusals(socket, self.refusals))

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a key is let in; called by the authenticator's thread for each new connection."""
        public = _text(key)
        name = self._doorman.name_of(public)
        if name is None:
            self._refuse(self._doorman, public, "a connection")
        return name is not None

    def owner(self, frames: Sequence[zmq.Frame]) -> str:
        """Name of the client that a message comes from.

        Raises:
            AuthenticationFailed: its key was revoked meanwhile.
        """
        public = str(frames[-1].get("User-Id"))
        name = self._keys.name_of(public)
        if name is None:
            self._refuse(self._keys, public, "a message", address=str(frames[-1].get("Peer-Address")))
            raise AuthenticationFailed("this key is not on the server's list any more; ask its keeper for a new one")
        return name

    def look(self) -> None:
        """Note the connections that were refused before anybody was asked about their key; to be called often."""
        for watched in self._watched:
            watched.look()

    def close(self) -> None:
        """End the authenticator's thread, and let go of the sockets."""
        self._authenticator.stop()
        for watched in self._watched:
            watched.close()

    def _refuse(self, keys: KeyFolder, public: str, what: str, address: str | None = None) -> None:
        """Count and log; with a revoked key, whose it was."""
        client = keys.revoked_name(public)
        reason = "revoked_key" if client else "unknown_key"
        self.refusals[reason] += 1
        held = self._throttle.admit(reason)
        if held is not None:
            sentence = f"{what} with {'a revoked' if client else 'an unknown'} key was refused"
            more = fields(reason=reason, client=client, key=public[:40], address=address, held_back=held or None)
            _log.warning(sentence, extra=more)


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode("ascii", "replace")
