"""Reads LeRobot v3.0 datasets: those that `LeRobotWriter` wrote in full, those of others as far as they go."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ksgen_export.columns import robot_track
from ksgen_export.conversion import no_hands
from ksgen_export.episode import DatasetReader, Episode, EpisodeKeyStep, FrameProvenance
from ksgen_export.lerobot import layout
from ksgen_export.lerobot.tables import column_values, read_names, read_table
from ksgen_export.record import unpack_record
from ksgen_export.video import read_frames
from ksgen_models.errors import DatasetError
from ksgen_models.types import RegionOfMotion


class LeRobotReader(DatasetReader):
    """A LeRobot dataset as a sequence of episodes, each read when it is asked for.

    A dataset of somebody else has no records: its frames come from its first camera, its key steps are its subtasks,
    or the whole episode where it has none, and hands and regions are empty.

    Args:
        folder: of the dataset.

    Raises:
        DatasetError: there is no such dataset, or it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._info = layout.read_info(self._folder)
        self._rows: list[dict[str, Any]] = []
        for path in sorted((self._folder / "meta/episodes").glob("*/*.parquet")):
            table = read_table(path)
            names = [name for name in table.column_names if not name.startswith("stats/")]
            self._rows += table.select(names).to_pylist()
        self._rows = [row for row in self._rows if row["episode_index"] < self._info["total_episodes"]]
        if len(self._rows) != self._info["total_episodes"]:
            raise DatasetError(
                f"{self._folder} says it has {self._info['total_episodes']} episodes, meta/episodes lists "
                f"{len(self._rows)}; restore the folder or write it anew"
            )
        self._camera = next(
            name for name, ft in self._info["features"].items() if ft["dtype"] == "video" and name != layout.REGION
        )
        super().__init__(folder, layout.schema_of(self._info), len(self._rows))

    def __getitem__(self, index: int) -> Episode:
        """Read an episode.

        Raises:
            IndexError: there are fewer.
            DatasetError: one of its files is missing or damaged.
        """
        row = self._rows[index]
        start = row[f"videos/{self._camera}/from_timestamp"]
        path = self._file("video_path", row, f"videos/{self._camera}", video_key=self._camera)
        frames = read_frames(path, start, row["length"], self.schema.fps)
        columns = self._columns(row)
        record = self._folder / layout.RECORD.format(episode_index=row["episode_index"])
        if record.exists():
            return unpack_record(record.read_bytes(), frames, columns)
        return self._foreign(row, frames, columns)

    def _file(self, template: str, row: dict[str, Any], kind: str, **more: Any) -> Path:
        place = {"chunk_index": row[f"{kind}/chunk_index"], "file_index": row[f"{kind}/file_index"]}
        return self._folder / self._info[template].format(**place, **more)

    def _columns(self, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
        path = self._file("data_path", row, "data")
        table = read_table(path, filters=pc.field("episode_index") == row["episode_index"])
        if table.num_rows != row["length"]:
            raise DatasetError(f"{path} holds {table.num_rows} of the {row['length']} frames of an episode; restore it")
        return {name: column_values(table, name) for name in table.column_names}

    def _foreign(self, row: dict[str, Any], frames: NDArray[np.uint8], columns: dict[str, NDArray[Any]]) -> Episode:
        length, task = len(frames), row["tasks"][0]
        numbers = columns.get("subtask_index", np.zeros(length, int)).reshape(-1)
        names = read_names(self._folder / layout.SUBTASKS, "subtask_index") or [task]
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), length]
        robot = robot_track(columns, self.schema, terminated=False)
        nothing = np.zeros(frames.shape[1:3], np.float32)
        key_steps = tuple(
            EpisodeKeyStep(
                description=names[int(numbers[start])],
                start=start,
                stop=stop,
                image=frames[start],
                goal=frames[min(stop, length - 1)],
                hands=no_hands(stop - start),
                region_of_motion=RegionOfMotion(
                    nothing, nothing > 0, np.zeros((stop - start, *nothing.shape), bool), nothing
                ),
                frame_provenance=FrameProvenance(False, "", "", 0, task),
            )
            for start, stop in itertools.pairwise(bounds)
        )
        return Episode("rollout", task, self.schema.fps, frames, key_steps, robot)
