"""What the readers and writers of the two HDF5 formats share: columns, records and schemas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ksgen_export.columns import Column
from ksgen_export.episode import Episode, EpisodeSchema
from ksgen_models.errors import DatasetError

RECORD = "ksgen"
CAMERA = "camera_image"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        DatasetError: it is missing or damaged, or lacks what was read from it.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}); restore the file or write the dataset anew") from exc


def put_columns(group: h5py.Group, columns: dict[str, NDArray[Any]]) -> None:
    """Store columns as datasets; texts as UTF-8."""
    for name, values in columns.items():
        if values.dtype.kind == "U":
            group.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype("utf-8"))
        else:
            group.create_dataset(name, data=values)


def take_columns(group: h5py.Group, names: tuple[Column, ...]) -> dict[str, NDArray[Any]]:
    """The inverse of `put_columns`."""
    found: dict[str, NDArray[Any]] = {}
    for column in names:
        data = group[column.name]
        assert isinstance(data, h5py.Dataset)
        found[column.name] = np.array(data.asstr()[:], str) if column.dtype == "string" else data[:]
    return found


def put_record(group: h5py.Group, record: bytes) -> None:
    """Store the bytes of `ksgen_export.record`."""
    group.create_dataset(RECORD, data=np.frombuffer(record, np.uint8))


def take_array(group: h5py.Group, name: str) -> NDArray[Any]:
    """A dataset as an array."""
    data = group[name]
    if not isinstance(data, h5py.Dataset):
        raise KeyError(name)
    return np.asarray(data[()])


def read_schema(told: dict[str, Any]) -> EpisodeSchema:
    """The inverse of `dataclasses.asdict`, after JSON made lists of the tuples."""
    return EpisodeSchema(**{**told, **{name: tuple(told[name]) for name in ("state_names", "action_names")}})


def check_schema(there: EpisodeSchema | None, episode: Episode, folder: Path) -> None:
    """Raise `DatasetError` where a dataset has another schema than the episode."""
    if there is not None and episode.schema != there:
        raise DatasetError(
            f"{folder} holds a dataset of another schema: {there} there, {episode.schema} here; choose another folder"
        )
