"""A client's key file: what one robot needs to reach one server over CURVE.

The file is JSON with ``format``, ``version``, ``name`` and three Z85 keys of 40 characters: the client's own
``public`` and ``secret``, and the ``server``'s public one. ``ksgen-agent keys new`` writes it; only its owner may read
it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ksgen_models.errors import AuthenticationFailed

FORMAT = "ksgen-client-key"
_Z85 = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")


@dataclass(frozen=True)
class ClientKey:
    """What a client shows, and whom it trusts; all keys in Z85.

    Attributes:
        name: what the server calls this client.
        public, secret: the client's own pair.
        server: the server's public key.
    """

    name: str
    public: str
    secret: str
    server: str

    def __repr__(self) -> str:  # a secret does not belong into logs
        return f"ClientKey(name={self.name!r}, public={self.public!r})"

    def write(self, path: str | Path) -> None:
        """Write the file, readable by its owner only.

        Raises:
            FileExistsError: there is one already.
        """
        record = {"format": FORMAT, "version": 1, "name": self.name}
        record |= {"public": self.public, "secret": self.secret, "server": self.server}
        write_private(Path(path), json.dumps(record, indent=1) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> ClientKey:
        """Read the file.

        Raises:
            AuthenticationFailed: it is missing or no key file.
        """
        try:
            record = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as exc:
            raise AuthenticationFailed(
                f"the key file {path} cannot be read ({exc}); make one with: ksgen-agent keys new NAME --out FILE"
            ) from exc
        if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("version") != 1:
            raise AuthenticationFailed(f"{path} is no client key; make one with: ksgen-agent keys new NAME --out FILE")
        keys = [str(record.get(name)) for name in ("public", "secret", "server")]
        if not all(is_z85_key(key) for key in keys) or not isinstance(record.get("name"), str):
            raise AuthenticationFailed(f"{path} is a damaged client key; ask the server's keeper for a new one")
        return cls(record["name"], *keys)


def is_z85_key(text: object) -> bool:
    """Whether this is 32 bytes in Z85."""
    return isinstance(text, str) and len(text) == 40 and set(text) <= _Z85


def write_private(path: Path, text: str) -> None:
    """Make a new file of mode 600.

    Raises:
        FileExistsError: there is one already.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
