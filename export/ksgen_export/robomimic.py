"""Datasets in robomimic's HDF5 format, one file ``dataset.hdf5``, frames without loss.

::

    data                    attributes: total (frames), env_args (JSON), ksgen (JSON: the schema)
    data/demo_0             attributes: num_samples, task
        actions             (T, A) float32
        rewards, dones      (T,)
        obs/camera_image    (T, H, W, 3) uint8
        obs/<column>        the columns of `ksgen_export.columns`, hands flat: (T, 126)
        ksgen               `ksgen_export.record`
    mask/train              names of all demos

``next_obs`` is left out, as it would double the size: load with ``load_next_obs=False``. Text columns lie in
``provenance/`` of a demo, where robomimic does not look.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ksgen_export import hdf5
from ksgen_export.columns import columns_of, fill_columns
from ksgen_export.episode import DatasetReader, Episode, EpisodeSchema
from ksgen_export.hdf5_writer import STAGING, StagedWriter, append, replacing
from ksgen_export.record import pack_record, unpack_record
from ksgen_models.errors import DatasetError

FILE = "dataset.hdf5"
_GYMNASIUM = 2  # robomimic's EnvType.GYM_TYPE
_OUTSIDE_OBS = ("action", "next.reward", "next.done")


class RobomimicWriter(StagedWriter):
    """Writes episodes to a new robomimic dataset, or behind those of an existing one.

    Args:
        folder: of the dataset; made when it is missing.
        env_name: what robomimic is told of the environment.

    Raises:
        DatasetError: something else lies in the folder.
    """

    def __init__(self, folder: str | Path, *, env_name: str = "ksgen") -> None:
        place = Path(folder)
        self._env_name = env_name
        self._path = place / FILE
        if place.exists() and (not place.is_dir() or {path.name for path in place.iterdir()} - {FILE, STAGING}):
            raise DatasetError(f"{folder} exists and is no robomimic dataset; choose another folder")
        schema, episodes = None, 0
        if self._path.exists():
            with hdf5.reading(self._path) as file:
                schema, episodes = _read_schema(file, self._path), len(file["data"])  # type: ignore[arg-type]
        super().__init__(place, schema, episodes)

    def _put(self, group: h5py.Group, episode: Episode) -> None:
        _put_episode(group, episode)

    def _join(self, first: int, parts: Sequence[Path], schema: EpisodeSchema) -> None:
        with replacing(self._path) as file:
            data = file.require_group("data")
            append(data, "demo_", first, parts)
            names = [f"demo_{index}" for index in range(first + len(parts))]
            data.attrs["total"] = sum(int(np.asarray(data[name].attrs["num_samples"])) for name in names)
            data.attrs["ksgen"] = json.dumps(asdict(schema))
            data.attrs["env_args"] = json.dumps(
                {"env_name": self._env_name, "type": _GYMNASIUM, "env_kwargs": {"fps": schema.fps}}
            )
            mask = file.require_group("mask")
            if "train" in mask:
                del mask["train"]
            mask["train"] = np.array(names, "S")


class RobomimicReader(DatasetReader):
    """A robomimic dataset that `RobomimicWriter` wrote, as a sequence of episodes.

    Args:
        folder: of the dataset.

    Raises:
        DatasetError: there is no such dataset, or somebody else wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._path = Path(folder) / FILE
        with hdf5.reading(self._path) as file:
            super().__init__(folder, _read_schema(file, self._path), len(file["data"]))  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Episode:
        """Read an episode.

        Raises:
            IndexError: there are fewer.
            DatasetError: the file is damaged.
        """
        place = range(len(self))[index]
        with hdf5.reading(self._path) as file:
            demo = file[f"data/demo_{place}"]
            assert isinstance(demo, h5py.Group)
            columns = _take_columns(demo, self.schema)
            frames = hdf5.take_array(demo, f"obs/{hdf5.CAMERA}")
            return unpack_record(hdf5.take_array(demo, hdf5.RECORD).tobytes(), frames, columns)


def _put_episode(demo: h5py.Group, episode: Episode) -> None:
    length, columns = len(episode), fill_columns(episode)
    demo.attrs["num_samples"] = length
    demo.attrs["task"] = episode.task
    demo["actions"] = columns["action"]
    demo["rewards"] = columns.get("next.reward", np.zeros(length, np.float32))
    demo["dones"] = (np.arange(length) == length - 1).astype(np.int64)
    obs = demo.create_group("obs")
    # A frame a chunk: trainers draw frames at random.
    obs.create_dataset(hdf5.CAMERA, data=episode.frames, chunks=(1, *episode.frames.shape[1:]), compression="lzf")
    texts = {name: values for name, values in columns.items() if values.dtype.kind == "U"}
    hdf5.put_columns(demo.create_group("provenance"), texts)
    numbers = {name: values for name, values in columns.items() if name not in texts and name not in _OUTSIDE_OBS}
    hdf5.put_columns(obs, {name: values.reshape(length, -1) for name, values in numbers.items()})
    hdf5.put_record(demo, pack_record(episode))


def _take_columns(demo: h5py.Group, schema: EpisodeSchema) -> dict[str, NDArray[Any]]:
    outside = {"action": "actions", "next.reward": "rewards", "next.done": "dones"}
    wanted = columns_of(schema)
    there = {column.name for column in wanted}
    found = {name: hdf5.take_array(demo, outside[name]) for name in _OUTSIDE_OBS if name in there}
    texts, obs = demo["provenance"], demo["obs"]
    assert isinstance(texts, h5py.Group)
    assert isinstance(obs, h5py.Group)
    found |= hdf5.take_columns(texts, tuple(column for column in wanted if column.dtype == "string"))
    numbers = tuple(column for column in wanted if column.dtype != "string" and column.name not in _OUTSIDE_OBS)
    return found | hdf5.take_columns(obs, numbers)


def _read_schema(file: h5py.File, path: Path) -> EpisodeSchema:
    told = file["data"].attrs.get("ksgen")
    if told is None:
        raise DatasetError(f"{path} was not written by KSGen-Agent, its frames and key steps cannot be told apart")
    return hdf5.read_schema(json.loads(str(told)))
