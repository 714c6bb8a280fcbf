"""Arrays in a body: where each lies, and views of it that copy nothing.

A body is the arrays one behind the other, each at a multiple of `ALIGNMENT` bytes, little-endian and in C order. Its
header has one `Blob` record for each. A record is checked against the real length of the body, and its shape against
its size, before an array is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import ProtocolError

ALIGNMENT = 64
MOST_AXES = 5
MOST_ARRAYS = 32  # of one body
MOST_NAME = 200  # characters
MOST_BYTES = 2**40
DTYPES = {"uint8": np.dtype("u1"), "bool": np.dtype("?"), "float32": np.dtype("<f4")}
ENCODINGS = ("raw", "jpeg", "png", "mp4")
_NAME_OF = {dtype: name for name, dtype in DTYPES.items()}
_PADDING = memoryview(bytes(ALIGNMENT))


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


class Layout(dict[str, Blob]):
    """The arrays of one body, by name; not to be changed.

    The bodies of one job are laid out alike, so whatever follows from a layout alone needs to be found out once: the
    same layout in two headers is one object, and it may be a key of a cache.
    """

    @cached_property
    def plain(self) -> dict[str, tuple[Any, ...]]:
        """As it travels."""
        return {name: astuple(blob) for name, blob in self.items()}

    @cached_property
    def _hash(self) -> int:
        return hash(frozenset(self.items()))

    def __hash__(self) -> int:  # type: ignore[override]
        return self._hash


def check_layout(value: Any) -> Layout:
    """Read the arrays of a header: a map of at most 32 names to what `check_blob` takes.

    Raises:
        ProtocolError: it is none.
    """
    if not isinstance(value, dict) or len(value) > MOST_ARRAYS:
        raise ProtocolError(f"expected a map of at most {MOST_ARRAYS} arrays")
    try:
        packed = bytes(msgpack.packb(value) or b"")
    except ValueError as exc:  # nested deeper than msgpack writes
        raise ProtocolError(f"expected a map of arrays ({exc})") from None
    return _read_layout(packed)


@lru_cache(maxsize=128)
def _read_layout(packed: bytes) -> Layout:
    items = msgpack.unpackb(packed).items()  # values that are equal and not of one type differ in these bytes
    layout = Layout()
    for name, blob in items:
        if not isinstance(name, str) or len(name) > MOST_NAME:
            raise ProtocolError(f"names of arrays have at most {MOST_NAME} characters")
        try:
            layout[name] = check_blob(blob)
        except ProtocolError as exc:
            raise ProtocolError(f"{name}: {exc}") from None
    return layout


def check_blob(value: Any) -> Blob:
    """Read a blob of a header: the list of its five fields in their order.

    Raises:
        ProtocolError: it is none, or a raw one whose size is not that of its shape and dtype.
    """
    if not isinstance(value, list | tuple) or len(value) != 5:
        raise ProtocolError("expected [encoding, dtype, shape, offset, size] of an array")
    encoding, dtype, shape, offset, size = value
    if encoding not in ENCODINGS or not isinstance(dtype, str) or dtype not in DTYPES:
        raise ProtocolError(f"arrays are one of {', '.join(ENCODINGS)}, and hold one of {', '.join(DTYPES)}")
    if not isinstance(shape, list | tuple) or len(shape) > MOST_AXES:
        raise ProtocolError(f"a shape is a list of at most {MOST_AXES} sides")
    for number in (*shape, offset, size):
        if type(number) is not int or not 0 <= number <= MOST_BYTES:
            raise ProtocolError("sides, offset and size of an array are whole numbers from 0 on")
    if encoding == "raw" and size != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ProtocolError(f"{size} bytes declared for {dtype} of shape {shape}")
    return Blob(encoding, dtype, tuple(shape), offset, size)


def lay_out(
    arrays: Mapping[str, tuple[str, Any, tuple[int, ...]]],
) -> tuple[Layout, list[memoryview]]:
    """Place arrays in one body.

    Args:
        arrays: by name (encoding, array or encoded bytes, shape of the decoded array).

    Returns:
        The layout, and the pieces that make up the body when written one behind the other, C-contiguous each.
    """
    found = {name: (encoding, *_bytes_of(name, content), shape) for name, (encoding, content, shape) in arrays.items()}
    layout, gaps = _place(tuple((name, *one[:2], one[2].nbytes, one[3]) for name, one in found.items()))
    pieces: list[memoryview] = []
    for gap, (_, _, piece, _) in zip(gaps, found.values(), strict=True):
        if gap:
            pieces.append(_PADDING[:gap])
        pieces.append(piece)
    return layout, pieces


@lru_cache(maxsize=128)
def _place(arrays: tuple[tuple[str, str, str, int, tuple[int, ...]], ...]) -> tuple[Layout, tuple[int, ...]]:
    """Where arrays of these names, encodings, dtypes, bytes and shapes lie, and the bytes of padding before each."""
    layout, gaps, end = Layout(), [], 0
    for name, encoding, dtype, size, shape in arrays:
        gaps.append(-end % ALIGNMENT)
        layout[name] = Blob(encoding, dtype, shape, end + gaps[-1], size)
        end += gaps[-1] + size
    return layout, tuple(gaps)


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
    array = np.ndarray(blob.shape, DTYPES[blob.dtype], view_bytes(blob, body))
    if blob.dtype == "bool" and blob.size and array.view(np.uint8).max() > 1:
        raise ProtocolError("a bool array holds a byte that is neither 0 nor 1")
    array.flags.writeable = False
    return array


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
    return _NAME_OF[content.dtype], np.ascontiguousarray(content).data
