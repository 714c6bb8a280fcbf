"""Arrays in a body: where each lies, and views of it that copy nothing.

A body is the arrays one behind the other, each at a multiple of `ALIGNMENT` bytes, little-endian and in C order. Its
header has one `Blob` record for each. A record is checked against the real length of the body, and its shape against
its size, before an array is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import ProtocolError

ALIGNMENT = 64
MOST_AXES = 5
MOST_BYTES = 2**40
DTYPES = {"uint8": np.dtype("u1"), "bool": np.dtype("?"), "float32": np.dtype("<f4")}
ENCODINGS = ("raw", "jpeg", "png", "mp4")
_NAME_OF = {dtype: name for name, dtype in DTYPES.items()}
_PADDING = bytes(ALIGNMENT)


@dataclass(frozen=True)
class Blob:
    """One array in a body.

    Attributes:
        encoding: ``raw``, or how the array is compressed: ``jpeg`` and ``png`` for a picture, ``mp4`` for a clip.
        dtype: ``uint8``, ``bool`` (one byte, 0 or 1) or ``float32`` (little-endian).
        shape: of the array, decoded.
        offset, size: bytes in the body.
    """

    encoding: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def check_blob(value: Any) -> Blob:
    """Read a blob of a header: the list of its five fields in their order.

    Raises:
        ProtocolError: it is none, or a raw one whose size is not that of its shape and dtype.
    """
    if not isinstance(value, list) or len(value) != 5:
        raise ProtocolError("expected [encoding, dtype, shape, offset, size] of an array")
    encoding, dtype, shape, offset, size = value
    if encoding not in ENCODINGS or not isinstance(dtype, str) or dtype not in DTYPES:
        raise ProtocolError(f"arrays are one of {', '.join(ENCODINGS)}, and hold one of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MOST_AXES:
        raise ProtocolError(f"a shape is a list of at most {MOST_AXES} sides")
    for number in (*shape, offset, size):
        if type(number) is not int or not 0 <= number <= MOST_BYTES:
            raise ProtocolError("sides, offset and size of an array are whole numbers from 0 on")
    if encoding == "raw" and size != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ProtocolError(f"{size} bytes declared for {dtype} of shape {shape}")
    return Blob(encoding, dtype, tuple(shape), offset, size)


def lay_out(
    arrays: Mapping[str, tuple[str, Any, tuple[int, ...]]],
) -> tuple[dict[str, Blob], list[memoryview]]:
    """Place arrays in one body.

    Args:
        arrays: by name (encoding, array or encoded bytes, shape of the decoded array).

    Returns:
        The blobs by name, and the pieces that make up the body when written one behind the other.
    """
    records: dict[str, Blob] = {}
    pieces: list[memoryview] = []
    end = 0
    for name, (encoding, content, shape) in arrays.items():
        dtype, piece = _bytes_of(name, content)
        if gap := -end % ALIGNMENT:
            pieces.append(memoryview(_PADDING)[:gap])
        end += gap
        records[name] = Blob(encoding, dtype, shape, end, piece.nbytes)
        pieces.append(piece)
        end += piece.nbytes
    return records, pieces


def raw(array: NDArray[Any]) -> tuple[str, NDArray[Any], tuple[int, ...]]:
    """An array as `lay_out` takes it, uncompressed."""
    return "raw", array, array.shape


def view_array(blob: Blob, body: memoryview | None) -> NDArray[Any]:
    """The array itself, a read-only view of the body.

    Raises:
        ProtocolError: it lies outside the body, or is not raw, or a bool is neither 0 nor 1.
    """
    if blob.encoding != "raw":
        raise ProtocolError(f"expected a raw array, got one encoded as {blob.encoding}")
    dtype = DTYPES[blob.dtype]
    part = view_bytes(blob, body)
    if blob.dtype == "bool" and blob.size and np.frombuffer(part, np.uint8).max() > 1:
        raise ProtocolError("a bool array holds a byte that is neither 0 nor 1")
    array = np.frombuffer(part, dtype) if blob.size else np.zeros(0, dtype)
    array.flags.writeable = False
    return array.reshape(blob.shape)


def view_bytes(blob: Blob, body: memoryview | None) -> memoryview:
    """The bytes of a blob, a view of the body.

    Raises:
        ProtocolError: it lies outside the body.
    """
    length = 0 if body is None else body.nbytes
    if body is None or blob.offset + blob.size > length:
        raise ProtocolError(f"bytes {blob.offset} to {blob.offset + blob.size} declared in a body of {length} bytes")
    return body[blob.offset : blob.offset + blob.size]


def join(pieces: Sequence[memoryview]) -> bytes | memoryview:
    """One buffer of the pieces of a body; a single piece is not copied."""
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _bytes_of(name: str, content: Any) -> tuple[str, memoryview]:
    if not isinstance(content, np.ndarray):
        return "uint8", memoryview(content)
    if content.dtype not in _NAME_OF:
        raise ProtocolError(f"{name} has dtype {content.dtype}; only {', '.join(DTYPES)} travel")
    flat = np.ascontiguousarray(content).reshape(-1)
    return _NAME_OF[content.dtype], flat.view(np.uint8).data
