"""Writing to disk with named errors and nothing half there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ksgen_models.errors import DatasetError


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system and the libraries below say into a `DatasetError`.

    A full disk, a read-only folder and a lost file system arrive here; what was complete before stays as it was.
    """
    try:
        yield
    except OSError as exc:  # FFmpeg's and Arrow's errors of reading and writing are among them
        raise DatasetError(
            f"cannot write to {folder}: {exc}; what was written before is kept, make room or choose another folder "
            "and go on"
        ) from exc


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place when all went well and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
