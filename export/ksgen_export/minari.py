"""Datasets that Minari's own loader opens (`minari.MinariDataset(folder / "data")`), frames without loss.

=================  ===================================================================================================
``observations``   ``camera`` (T, H, W, 3) uint8 and ``state`` (T, P): one for each of the T frames
``actions``        (T - 1, A) float32
``rewards``        (T - 1,), ``terminations`` and ``truncations`` likewise, which end the episode
``infos``          all columns of `ksgen_export.columns` for each of the T frames; ``ksgen``: `ksgen_export.record`
=================  ===================================================================================================

A transition needs the frame after it, so the last frame's action is in ``infos["action"]`` only. Minari's files are
not compressed: a frame of 256 × 256 takes 197 kB.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ksgen_export import hdf5
from ksgen_export.columns import columns_of, fill_columns
from ksgen_export.disk import whole_file
from ksgen_export.episode import DatasetReader, Episode, EpisodeSchema
from ksgen_export.hdf5_writer import STAGING, StagedWriter, append, replacing
from ksgen_export.record import pack_record, unpack_record
from ksgen_models.errors import DatasetError

if TYPE_CHECKING:
    from gymnasium import spaces

DATA = "data"
_FILE = f"{DATA}/main_data.hdf5"
_METADATA = f"{DATA}/metadata.json"


class MinariWriter(StagedWriter):
    """Writes episodes to a new Minari dataset, or behind those of an existing one.

    Args:
        folder: of the dataset; made when it is missing.
        dataset_id: Minari's name of the dataset.

    Raises:
        DatasetError: something else lies in the folder.
    """

    def __init__(self, folder: str | Path, *, dataset_id: str = "ksgen/imagined-v0") -> None:
        place = Path(folder).absolute()  # Minari takes a relative one for relative to itself
        self._id = dataset_id
        schema, episodes = None, 0
        if (place / _METADATA).exists() or not _is_free(place):
            reader = MinariReader(place)
            schema, episodes = reader.schema, len(reader)
        super().__init__(place, schema, episodes)

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index; see `EpisodeWriter.add`.

        Raises:
            DatasetError: also where it has a single frame, which makes no transition.
        """
        if len(episode) < 2:
            raise DatasetError(
                f"the episode {episode.task!r} has one frame; Minari's episodes need two or more, leave it out"
            )
        return super().add(episode)

    def _put(self, group: h5py.Group, episode: Episode) -> None:
        _put_episode(group, episode)

    def _join(self, first: int, parts: Sequence[Path], schema: EpisodeSchema) -> None:
        """Minari goes by its metadata, which come last: what lies beyond them in the file is not there yet."""
        told = _read_metadata(self._folder) if first else self._new_metadata(schema)
        with replacing(self._folder / _FILE) as file:
            for name in set(file) - {f"episode_{index}" for index in range(first)}:
                del file[name]
            append(file, "episode_", first, parts)
            steps = 0
            for index in range(first, first + len(parts)):
                attributes = file[f"episode_{index}"].attrs
                attributes["id"] = index
                steps += int(np.asarray(attributes["total_steps"]))
        told["total_episodes"] += len(parts)
        told["total_steps"] += steps
        told["dataset_size"] = round((self._folder / _FILE).stat().st_size / 1e6, 1)
        with whole_file(self._folder / _METADATA) as partial:
            partial.write_text(json.dumps(told), "utf-8")

    def _new_metadata(self, schema: EpisodeSchema) -> dict[str, Any]:
        """As Minari itself begins a dataset."""
        from minari.dataset.minari_storage import MinariStorage

        observation, action = _spaces(schema)
        data = self._folder / STAGING / DATA
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        # JPEG, Minari's default, would lose what no video of ours loses.
        MinariStorage.new(data, observation, action, jpeg_encoding=False)
        told = json.loads((data / Path(_METADATA).name).read_text("utf-8"))
        names = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(schema).items()}
        return {**told, "dataset_id": self._id, "ksgen": names, "minari_version": metadata.version("minari")}


def _is_free(folder: Path) -> bool:
    """Whether a dataset may begin there: nothing is, or what a writer left that was killed before its first `close`."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or (STAGING in names and names <= {STAGING, DATA})


class MinariReader(DatasetReader):
    """A Minari dataset that `MinariWriter` wrote, as a sequence of episodes.

    Args:
        folder: of the dataset.

    Raises:
        DatasetError: there is no such dataset, or somebody else wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            told = _read_metadata(Path(folder))
            length, schema = int(told["total_episodes"]), hdf5.read_schema(told["ksgen"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise DatasetError(
                f"{folder} is no Minari dataset of KSGen-Agent ({exc!r}); choose another folder"
            ) from exc
        super().__init__(folder, schema, length)

    def __getitem__(self, index: int) -> Episode:
        """Read an episode.

        Raises:
            IndexError: there are fewer.
            DatasetError: the file is damaged.
        """
        place = range(len(self))[index]
        with hdf5.reading(self.folder / _FILE) as file:
            group = file[f"episode_{place}"]
            assert isinstance(group, h5py.Group)
            infos = group["infos"]
            assert isinstance(infos, h5py.Group)
            columns = hdf5.take_columns(infos, columns_of(self.schema))
            frames = hdf5.take_array(group, "observations/camera")
            return unpack_record(hdf5.take_array(infos, hdf5.RECORD).tobytes(), frames, columns)


def _spaces(schema: EpisodeSchema) -> tuple[spaces.Dict, spaces.Box]:
    from gymnasium import spaces

    observed: dict[str, Any] = {
        "camera": spaces.Box(0, 255, (schema.height, schema.width, 3), np.uint8),
        "state": spaces.Box(-np.inf, np.inf, (len(schema.state_names),), np.float32),
    }
    return spaces.Dict(observed), spaces.Box(-np.inf, np.inf, (len(schema.action_names),), np.float32)


def _put_episode(group: h5py.Group, episode: Episode) -> None:
    """As Minari lays episodes out: what can be lengthened is in chunks."""
    columns, moves = fill_columns(episode), len(episode) - 1
    ended = np.arange(moves) == moves - 1
    terminated = episode.robot is not None and episode.robot.terminated
    group.attrs["total_steps"] = moves
    observations = group.create_group("observations")
    for name, values in {"camera": episode.frames, "state": columns["observation.state"]}.items():
        observations.create_dataset(name, data=values, chunks=True, maxshape=(None, *values.shape[1:]))
    moved = {
        "actions": columns["action"][:moves],
        "rewards": columns.get("next.reward", np.zeros(moves + 1, np.float32))[:moves],
        "terminations": ended & terminated,
        "truncations": ended & (not terminated),
    }
    for name, values in moved.items():
        group.create_dataset(name, data=values, chunks=True, maxshape=(None, *values.shape[1:]))
    infos = group.create_group("infos")
    hdf5.put_columns(infos, columns)
    hdf5.put_record(infos, pack_record(episode))


def _read_metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _METADATA).read_text("utf-8"))
