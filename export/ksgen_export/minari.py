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

import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ksgen_export import hdf5
from ksgen_export.columns import columns_of, fill_columns
from ksgen_export.disk import writing
from ksgen_export.episode import DatasetReader, Episode, EpisodeSchema
from ksgen_export.record import pack_record, unpack_record
from ksgen_models.errors import DatasetError

if TYPE_CHECKING:
    from gymnasium import spaces

DATA = "data"
_FILE = f"{DATA}/main_data.hdf5"
_METADATA = f"{DATA}/metadata.json"


class MinariWriter:
    """Writes episodes to a new Minari dataset, or behind those of an existing one.

    The dataset is written beside its place and takes it when the writer is closed; what a killed writer had added is
    lost, and the dataset is as it was before.

    Args:
        folder: of the dataset; made when it is missing.
        dataset_id: Minari's name of the dataset.

    Raises:
        DatasetError: something else lies in the folder.
    """

    def __init__(self, folder: str | Path, *, dataset_id: str = "ksgen/imagined-v0") -> None:
        self._folder = Path(folder).absolute()  # Minari takes a relative one for relative to itself
        self._id = dataset_id
        self._partial = self._folder.with_name(f".{self._folder.name}.part")
        self._storage: Any = None
        self._schema: EpisodeSchema | None = None
        self._episodes = 0
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            reader = MinariReader(self._folder)
            self._schema, self._episodes = reader.schema, len(reader)

    @property
    def folder(self) -> Path:
        """Where the dataset lies."""
        return self._folder

    @property
    def episodes(self) -> int:
        """Number of episodes, those added included."""
        return self._episodes

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index; see `EpisodeWriter.add`.

        Raises:
            DatasetError: also where it has a single frame, which makes no transition.
        """
        hdf5.check_schema(self._schema, episode, self._folder)
        if len(episode) < 2:
            raise DatasetError(f"the episode {episode.task!r} has one frame; Minari's need two or more")
        buffer = _to_buffer(episode)
        with writing(self._folder):
            if self._storage is None:
                self._storage = self._begin(episode.schema)
            try:
                self._storage.update_episodes([buffer])
            except BaseException:
                hdf5.drop(self._partial / _FILE, f"episode_{self._episodes}")
                raise
        self._schema = episode.schema
        self._episodes += 1
        return self._episodes - 1

    def close(self) -> None:
        """Put the dataset in place; see `EpisodeWriter.close`."""
        if self._storage is None:
            return
        with writing(self._folder):
            old = self._folder.with_name(f".{self._folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if self._folder.exists():
                self._folder.rename(old)
            self._partial.rename(self._folder)
            shutil.rmtree(old, ignore_errors=True)
        self._storage = None

    def __enter__(self) -> MinariWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _begin(self, schema: EpisodeSchema) -> Any:
        from minari.dataset.minari_storage import MinariStorage

        shutil.rmtree(self._partial, ignore_errors=True)
        data = self._partial / DATA
        if self._folder.exists() and any(self._folder.iterdir()):
            shutil.copytree(self._folder, self._partial)
            return MinariStorage.read(data)
        data.mkdir(parents=True)
        observation, action = _spaces(schema)
        # JPEG, Minari's default, would lose what no video of ours loses.
        storage = MinariStorage.new(data, observation, action, jpeg_encoding=False)
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(schema).items()}
        version = metadata.version("minari")
        storage.update_metadata({"dataset_id": self._id, "ksgen": told, "minari_version": version})
        return storage


class MinariReader(DatasetReader):
    """A Minari dataset that `MinariWriter` wrote, as a sequence of episodes.

    Args:
        folder: of the dataset.

    Raises:
        DatasetError: there is no such dataset, or somebody else wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        import json

        path = Path(folder) / _METADATA
        try:
            told = json.loads(path.read_text("utf-8"))
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
        import h5py

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


def _to_buffer(episode: Episode) -> Any:
    from minari.data_collector import EpisodeBuffer

    columns, moves = fill_columns(episode), len(episode) - 1
    ended = np.arange(moves) == moves - 1
    terminated = episode.robot is not None and episode.robot.terminated
    observations = {"camera": episode.frames, "state": columns["observation.state"]}
    # Texts as lists: h5py takes those, and no arrays of them.
    infos: dict[str, Any] = {
        name: values.tolist() if values.dtype.kind == "U" else values for name, values in columns.items()
    }
    infos[hdf5.RECORD] = np.frombuffer(pack_record(episode), np.uint8)
    actions: Any = columns["action"][:moves]  # Minari's annotation forgets that arrays will do
    return EpisodeBuffer(
        observations=observations,
        actions=actions,
        rewards=list(columns.get("next.reward", np.zeros(moves + 1, np.float32))[:moves]),
        terminations=list(ended & terminated),
        truncations=list(ended & (not terminated)),
        infos=infos,
    )
