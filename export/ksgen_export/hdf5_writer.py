"""What the writers of the two HDF5 formats share: episodes wait in files of their own, and are joined to one file.

HDF5 ends the whole process when it cannot write what it holds back until a file is closed, as on a full disk. So its
files are either made in memory and written as bytes, or written through a `_Patient` file, which keeps the failure to
itself until HDF5 is done.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py

from ksgen_export.disk import whole_file, writing
from ksgen_export.episode import Episode, EpisodeSchema
from ksgen_export.hdf5 import check_schema, read_schema, reading

STAGING = ".staging"
_EPISODE = "episode"


class StagedWriter(ABC):
    """An `EpisodeWriter` of which `add` survives a kill: episodes wait in ``.staging`` until `close` joins them.

    Args:
        folder: of the dataset; made when it is missing.
        schema: of the episodes that are there already; None where there are none.
        episodes: their number.
    """

    def __init__(self, folder: Path, schema: EpisodeSchema | None, episodes: int) -> None:
        self._folder, self._schema, self._done = folder, schema, episodes
        self._staged: list[Path] = []
        while (path := self._stage(self._done + len(self._staged))).is_file():
            self._staged.append(path)
        if self._staged and schema is None:
            with reading(self._staged[0]) as file:
                self._schema = read_schema(json.loads(str(file[_EPISODE].attrs["schema"])))

    @property
    def folder(self) -> Path:
        """Where the dataset lies."""
        return self._folder

    @property
    def episodes(self) -> int:
        """Number of episodes, those added included."""
        return self._done + len(self._staged)

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index; see `EpisodeWriter.add`."""
        check_schema(self._schema, episode, self._folder)
        path = self._stage(self.episodes)
        with writing(self._folder):
            with h5py.File("episode.hdf5", "w", driver="core", backing_store=False) as file:
                group = file.create_group(_EPISODE)
                self._put(group, episode)
                group.attrs["schema"] = json.dumps(asdict(episode.schema))
                file.flush()
                image = file.id.get_file_image()
            with whole_file(path) as partial:
                partial.write_bytes(image)
        self._schema = episode.schema
        self._staged.append(path)
        return self.episodes - 1

    def close(self) -> None:
        """Put what was added in place; see `EpisodeWriter.close`."""
        if not self._staged or self._schema is None:
            return
        with writing(self._folder):
            self._join(self._done, self._staged, self._schema)
            self._done, self._staged = self.episodes, []
            shutil.rmtree(self._folder / STAGING, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def _put(self, group: h5py.Group, episode: Episode) -> None:
        """Fill an episode's group."""

    @abstractmethod
    def _join(self, first: int, parts: Sequence[Path], schema: EpisodeSchema) -> None:
        """Put staged episodes into the dataset, with indices from ``first`` on."""

    def _stage(self, index: int) -> Path:
        return self._folder / STAGING / f"{index:06d}.hdf5"


def append(group: h5py.Group, prefix: str, first: int, parts: Sequence[Path]) -> None:
    """Copy staged episodes into a group, without decoding them; what goes by their names already is replaced."""
    for index, path in enumerate(parts, start=first):
        name = f"{prefix}{index}"
        if name in group:
            del group[name]
        with reading(path) as file:
            file.copy(file[_EPISODE], group, name)
        del group[name].attrs["schema"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[h5py.File]:
    """A copy of a file, or a new one, to be written to; it takes the file's place when all went well.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    with whole_file(path) as partial:
        if path.exists():
            shutil.copyfile(path, partial)
        with contextlib.closing(_Patient(partial)) as patient:
            try:
                with h5py.File(patient, "r+" if path.exists() else "w", track_order=True) as file:
                    yield file
            except Exception as exc:
                if patient.failure is None:
                    raise
                raise patient.failure from exc
            if patient.failure is not None:
                raise patient.failure


class _Patient(io.RawIOBase):
    """A file for HDF5 whose writes seem to go well.

    Attributes:
        failure: of the first write that did not.
    """

    def __init__(self, path: Path) -> None:
        self.failure: OSError | None = None
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)

    def write(self, data: Any) -> int:
        """Write all of it, or keep the error."""
        view = memoryview(data).cast("B")
        done = 0
        while self.failure is None and done < len(view):
            try:
                done += self._file.write(view[done:])
            except OSError as exc:
                self.failure = exc
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read; what was never written is zero."""
        view = memoryview(buffer).cast("B")
        done = self._file.readinto(view)
        view[done:] = bytes(len(view) - done)
        return len(view)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Cut or grow the file."""
        return self._file.truncate(size)

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()
