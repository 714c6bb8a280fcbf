"""What was measured, clip by clip, on disk: a stopped evaluation goes on where it was, and memory stays flat."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Store:
    """Records by key: plain values and arrays, one NumPy archive each.

    Attributes:
        folder: where they are.
    """

    folder: Path

    def save(self, key: str, mark: str, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a record; it appears whole or not at all. ``mark`` says from what it was made."""
        meta = json.dumps({"mark": mark, "values": values})
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, meta=np.frombuffer(meta.encode(), np.uint8), **arrays)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)

    def values(self, key: str, mark: str | None = None) -> dict[str, Any] | None:
        """The plain values of a record; None where there is none, or one made from something else."""
        try:
            with np.load(self._path(key), allow_pickle=False) as archive:
                meta = json.loads(archive["meta"].tobytes())
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        return meta["values"] if mark is None or meta.get("mark") == mark else None

    def arrays(self, key: str, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Arrays of a record; all of them, or those named."""
        with np.load(self._path(key), allow_pickle=False) as archive:
            wanted = [name for name in archive.files if name != "meta"] if names is None else list(names)
            return {name: archive[name] for name in wanted}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
