"""Writes LeRobot v3.0 datasets; where things lie is in `ksgen_export.lerobot.layout`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from ksgen_export.disk import whole_file, writing
from ksgen_export.episode import Episode, EpisodeSchema
from ksgen_export.lerobot import layout
from ksgen_export.lerobot.staging import StagedEpisode, stage_episode, staged_episodes
from ksgen_export.lerobot.stats import Stats, arrays, column_stats, merge_stats, plain
from ksgen_export.lerobot.tables import frame_table, read_names, read_table, write_names, write_tables
from ksgen_export.video import VideoOptions, describe_video, join_videos
from ksgen_models.errors import DatasetError

_MEGABYTE = 1024**2


class LeRobotWriter:
    """Writes episodes to a new LeRobot dataset, or behind those of an existing one.

    An episode that `add` returned from survives a kill: it waits in ``.staging`` until `close`, of this or of a later
    writer of the same folder, puts it in place. Files that are there already are never changed, but for the small
    ones in ``meta/``, which are replaced as a whole.

    Args:
        folder: of the dataset; made when it is missing.
        video: how frames are encoded.
        robot_type: what ``meta/info.json`` of a new dataset says.

    Raises:
        DatasetError: something else lies in the folder.
    """

    def __init__(self, folder: str | Path, *, video: VideoOptions | None = None, robot_type: str | None = None) -> None:
        self._folder = Path(folder)
        self._video = video or VideoOptions()
        self._robot_type = robot_type
        self._staging = self._folder / layout.STAGING
        self._info = _open_info(self._folder)
        first = self._info["total_episodes"] if self._info else 0
        with writing(self._folder):
            self._staged = staged_episodes(self._staging, first)

    @property
    def folder(self) -> Path:
        """Where the dataset lies."""
        return self._folder

    @property
    def episodes(self) -> int:
        """Number of episodes, those not yet put in place included."""
        return (self._info["total_episodes"] if self._info else 0) + len(self._staged)

    def add(self, episode: Episode) -> int:
        """Append an episode and return its index; see `EpisodeWriter.add`."""
        info = self._fit(episode.schema)
        with writing(self._folder):
            staged = stage_episode(episode, self.episodes, self._staging, self._video)
            if self._info is None:
                _write_json(self._folder / layout.INFO, info)
        self._info = info
        self._staged.append(staged)
        return staged.index

    def close(self) -> None:
        """Put what was added in place; see `EpisodeWriter.close`."""
        if not self._staged or self._info is None:
            return
        with writing(self._folder):
            self._info = _commit(self._folder, self._info, self._staged)
            self._staged = []
            shutil.rmtree(self._staging, ignore_errors=True)

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _fit(self, schema: EpisodeSchema) -> dict[str, Any]:
        """The dataset's info, once an episode of this schema may go there."""
        if self._info is None:
            return layout.make_info(schema, self._robot_type)
        there, wanted = self._info, layout.make_info(schema, self._robot_type)
        differing = [name for name in ("fps",) if there[name] != wanted[name]]
        for name in sorted({*there["features"], *wanted["features"]}):
            old, new = (_essence(info["features"].get(name)) for info in (there, wanted))
            if old != new:
                differing.append(f"{name} ({old} there, {new} here)")
        if differing:
            raise DatasetError(
                f"{self._folder} holds a dataset of another schema: {'; '.join(differing)}; choose another folder"
            )
        return self._info


def write_staged(folder: Path, schema: EpisodeSchema, staged: Sequence[StagedEpisode]) -> None:
    """Write a new dataset of episodes that were staged elsewhere, in this order; their folders stay as they are.

    Args:
        folder: of the dataset, not there yet.
        schema: of all episodes.
        staged: with indices from 0 on.

    Raises:
        DatasetError: it cannot be written.
    """
    with writing(folder):
        _commit(folder, layout.make_info(schema, None), staged)


def _commit(folder: Path, info: dict[str, Any], staged: Sequence[StagedEpisode]) -> dict[str, Any]:
    """Join staged episodes to files of the dataset; ``meta/info.json`` comes last and makes them part of it."""
    before = _episode_rows(folder, info)
    number = _after_last(before, "meta/episodes")
    tasks = _extend(read_names(folder / layout.TASKS, "task_index"), [episode.task for episode in staged])
    sentences = [step["description"] for episode in staged for step in episode.key_steps]
    subtasks = _extend(read_names(folder / layout.SUBTASKS, "subtask_index"), sentences)
    rows = [_row(episode, number) for episode in staged]
    _write_data(folder, info, staged, rows, tasks, subtasks)
    for key in layout.VIDEOS:
        _write_videos(folder, info, staged, rows, key)
    for episode in staged:
        with whole_file(folder / layout.RECORD.format(episode_index=episode.index)) as partial:
            shutil.copyfile(episode.record, partial)
    write_tables(folder / layout.EPISODES.format(**layout.place(number)), [pa.Table.from_pylist([row]) for row in rows])
    write_names(folder / layout.TASKS, "task_index", tasks)
    write_names(folder / layout.SUBTASKS, "subtask_index", subtasks)
    _write_json(folder / layout.STATS, _merge([*before, *rows]))
    features = {
        name: {**feature, "info": describe_video(folder / layout.VIDEO.format(video_key=name, **layout.place(0)))}
        if feature["dtype"] == "video"
        else feature
        for name, feature in info["features"].items()
    }
    total = info["total_episodes"] + len(staged)
    done = {
        **info,
        "features": features,
        "total_episodes": total,
        "total_frames": info["total_frames"] + sum(episode.length for episode in staged),
        "total_tasks": len(tasks),
        "splits": {"train": f"0:{total}"},
    }
    _write_json(folder / layout.INFO, done)
    return done


def _row(episode: StagedEpisode, number: int) -> dict[str, Any]:
    """An episode's row in ``meta/episodes`` as far as it follows from the episode alone."""
    steps = episode.key_steps
    place = layout.place(number)
    return {
        "episode_index": episode.index,
        "tasks": [episode.task],
        "length": episode.length,
        "key_steps/description": [step["description"] for step in steps],
        "key_steps/start": [step["start"] for step in steps],
        "key_steps/stop": [step["stop"] for step in steps],
        "meta/episodes/chunk_index": place["chunk_index"],
        "meta/episodes/file_index": place["file_index"],
    }


def _write_data(
    folder: Path,
    info: dict[str, Any],
    staged: Sequence[StagedEpisode],
    rows: list[dict[str, Any]],
    tasks: list[str],
    subtasks: list[str],
) -> None:
    """Write the frames' rows and note in each episode's row where they lie and what their statistics are."""
    fps, done = info["fps"], info["total_frames"]
    task_of, subtask_of = ({name: place for place, name in enumerate(names)} for names in (tasks, subtasks))
    number = _next_file(folder, "data")
    bounds = _split([_data_size(episode) for episode in staged], layout.DATA_FILE_MB * _MEGABYTE)

    def tables(first: int, last: int, place: dict[str, int]) -> Iterator[pa.Table]:
        nonlocal done
        for episode, row in zip(staged[first:last], rows[first:last], strict=True):
            length = episode.length
            values = episode.columns()
            numbers = [subtask_of[step["description"]] for step in episode.key_steps]
            values["subtask_index"] = np.repeat(numbers, [step["stop"] - step["start"] for step in episode.key_steps])
            values["timestamp"] = (np.arange(length) / fps).astype(np.float32)
            values["frame_index"] = np.arange(length)
            values["episode_index"] = np.full(length, episode.index)
            values["index"] = np.arange(done, done + length)
            values["task_index"] = np.full(length, task_of[episode.task])
            row |= {"data/chunk_index": place["chunk_index"], "data/file_index": place["file_index"]}
            row |= {"dataset_from_index": done, "dataset_to_index": done + length}
            stats = dict(episode.about["stats"])
            stats |= {name: plain(column_stats(values[name])) for name in (*layout.COUNTERS, "subtask_index")}
            for name in info["features"]:  # one order in all episodes, whatever the order of staging
                row |= {f"stats/{name}/{kind}": value for kind, value in stats.get(name, {}).items()}
            done += length
            yield frame_table(info["features"], values)

    for offset, (first, last) in enumerate(bounds):
        place = layout.place(number + offset)
        write_tables(folder / layout.DATA.format(**place), tables(first, last, place))


def _write_videos(
    folder: Path, info: dict[str, Any], staged: Sequence[StagedEpisode], rows: list[dict[str, Any]], key: str
) -> None:
    """Join the episodes' videos and note in each episode's row where its frames lie."""
    number = _next_file(folder, f"videos/{key}")
    sizes = [episode.video(key).stat().st_size for episode in staged]
    for offset, (first, last) in enumerate(_split(sizes, layout.VIDEO_FILE_MB * _MEGABYTE)):
        place = layout.place(number + offset)
        with whole_file(folder / layout.VIDEO.format(video_key=key, **place)) as partial:
            sources = [(episode.video(key), episode.length) for episode in staged[first:last]]
            join_videos(sources, partial, info["fps"])
        frames = 0
        for episode, row in zip(staged[first:last], rows[first:last], strict=True):
            row[f"videos/{key}/chunk_index"] = place["chunk_index"]
            row[f"videos/{key}/file_index"] = place["file_index"]
            row[f"videos/{key}/from_timestamp"] = frames / info["fps"]
            frames += episode.length
            row[f"videos/{key}/to_timestamp"] = frames / info["fps"]


def _split(sizes: Sequence[int], limit: float) -> list[tuple[int, int]]:
    """Bounds of files that hold consecutive episodes, each as many as stay within ``limit`` bytes."""
    bounds, first, held = [], 0, 0
    for index, size in enumerate(sizes):
        if index > first and held + size > limit:
            bounds.append((first, index))
            first, held = index, 0
        held += size
    return [*bounds, (first, len(sizes))]


def _next_file(folder: Path, kind: str) -> int:
    """Number of the first file of a kind that no episode of the dataset lies in.

    What an interrupted `_commit` left lies from there on, and is written over.
    """
    info = layout.read_info(folder) if (folder / layout.INFO).exists() else None
    rows = _episode_rows(folder, info, stats=False) if info else []
    return _after_last(rows, kind)


def _after_last(rows: Sequence[dict[str, Any]], kind: str) -> int:
    """One more than the greatest file number that the rows name."""
    used = (row[f"{kind}/chunk_index"] * layout.FILES_A_CHUNK + row[f"{kind}/file_index"] for row in rows)
    return 1 + max(used, default=-1)


def _episode_rows(folder: Path, info: dict[str, Any], *, stats: bool = True) -> list[dict[str, Any]]:
    """The rows of ``meta/episodes`` that are part of the dataset."""
    rows = []
    for path in sorted((folder / "meta/episodes").glob("*/*.parquet")):
        table = read_table(path)
        names = [name for name in table.column_names if stats or not name.startswith("stats/")]
        rows += [row for row in table.select(names).to_pylist() if row["episode_index"] < info["total_episodes"]]
    return rows


def _merge(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``meta/stats.json`` from the rows of all episodes."""
    names = dict.fromkeys(key.split("/")[1] for key in rows[0] if key.startswith("stats/"))
    merged: dict[str, Any] = {}
    for name in names:
        prefix = f"stats/{name}/"
        parts: list[Stats] = [
            arrays({key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)})
            for row in rows
        ]
        merged[name] = plain(merge_stats(parts))
    return merged


def _data_size(episode: StagedEpisode) -> int:
    return sum(values.nbytes for values in episode.columns().values() if values.dtype.kind != "U")


def _extend(known: list[str], names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*known, *names]))


def _essence(feature: dict[str, Any] | None) -> tuple[Any, ...] | None:
    """What must be equal in all episodes: the video's own description is not part of it."""
    return (feature["dtype"], tuple(feature["shape"]), str(feature["names"])) if feature else None


def _open_info(folder: Path) -> dict[str, Any] | None:
    if not folder.exists() or (folder.is_dir() and not any(path.name != layout.STAGING for path in folder.iterdir())):
        return None
    if not folder.is_dir() or not (folder / layout.INFO).exists():
        raise DatasetError(f"{folder} exists and is no LeRobot dataset; choose another folder")
    return layout.read_info(folder)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(data, indent=4, ensure_ascii=False), "utf-8")
