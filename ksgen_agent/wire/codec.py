"""Messages to frames and back: a msgpack header that says everything, and at most one raw binary body.

Nothing is unpickled, extension types are refused, and lengths are bounded before msgpack allocates for them. The body
is never copied here: an outgoing one is handed over as it is, an incoming one is looked at through a memoryview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import msgpack
import numpy as np

from ksgen_agent.wire.blobs import Blob, Layout
from ksgen_agent.wire.schema import AnyMessage, read_fields
from ksgen_models.errors import ProtocolError

VERSION = 1
MOST_HEADER_BYTES = 256 * 1024
Buffer = bytes | bytearray | memoryview


class VersionMismatch(ProtocolError):
    """The other side speaks another version of the protocol."""


def encode(message: Any) -> bytes:
    """The header frame of a message.

    Raises:
        ProtocolError: a field holds what msgpack cannot carry, or the header would be too long.
    """
    header = {"v": VERSION, "type": message.TYPE}
    for name in _names(type(message)):
        value = getattr(message, name)
        header[name] = value.plain if isinstance(value, Layout) else value
    try:
        packed = bytes(msgpack.packb(header, default=_simplify) or b"")
    except (TypeError, ValueError, OverflowError) as exc:
        raise ProtocolError(f"a {message.TYPE} message holds what cannot be sent: {exc}") from exc
    if len(packed) > MOST_HEADER_BYTES:
        raise ProtocolError(f"the header of a {message.TYPE} message has {len(packed)} bytes, over {MOST_HEADER_BYTES}")
    return packed


def decode(header: Buffer, known: Mapping[str, type[AnyMessage]]) -> AnyMessage:
    """The message in a header frame; fields that this version does not know are ignored.

    Args:
        header: the frame.
        known: the message classes that may arrive here, by type name.

    Raises:
        VersionMismatch: another version of the protocol.
        ProtocolError: anything else that is wrong with it.
    """
    values = _unpack(header)
    if values.get("v") != VERSION or isinstance(values.get("v"), bool):
        raise VersionMismatch(
            f"the message has protocol version {str(values.get('v'))[:20]}, this side speaks {VERSION}"
        )
    name = values.get("type")
    kind = known.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ProtocolError(f"unknown message type {str(name)[:40]!r}; expected one of {', '.join(known)}")
    return read_fields(kind, values)


def peek_id(header: Buffer) -> str:
    """The request id in a header that `decode` refused, so that the refusal can name it; empty if there is none."""
    try:
        found = _unpack(header).get("id")
    except ProtocolError:
        return ""
    return found if isinstance(found, str) and len(found) <= 64 else ""


def split(frames: Sequence[Any]) -> tuple[memoryview, memoryview | None]:
    """Header and body of one received message, as views of its frames.

    Raises:
        ProtocolError: not one or two frames.
    """
    if not 1 <= len(frames) <= 2:
        raise ProtocolError(f"a message has a header and at most one body, got {len(frames)} frames")
    views = [memoryview(frame) for frame in frames]
    return views[0], views[1] if len(views) == 2 else None


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))


def _unpack(header: Buffer) -> dict[str, Any]:
    if len(header) > MOST_HEADER_BYTES:
        raise ProtocolError(f"the header has {len(header)} bytes, at most {MOST_HEADER_BYTES} are allowed")
    try:
        values = msgpack.unpackb(header, raw=False, use_list=False, strict_map_key=True, max_ext_len=0, max_bin_len=0)
    except Exception as exc:  # msgpack raises half a dozen unrelated classes
        raise ProtocolError(f"the header is not msgpack of plain data ({type(exc).__name__})") from None
    if not isinstance(values, dict):
        raise ProtocolError(f"the header is a {type(values).__name__}, not a map")
    return values


def _simplify(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Blob):
        return [value.encoding, value.dtype, value.shape, value.offset, value.size]
    raise TypeError(f"{type(value).__qualname__} is no plain data")
