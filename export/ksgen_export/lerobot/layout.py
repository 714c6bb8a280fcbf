"""Where things lie in a LeRobot v3.0 dataset, and what ``meta/info.json`` says.

::

    meta/info.json                                        features, totals, path templates
    meta/stats.json                                       statistics of all features
    meta/tasks.parquet, meta/subtasks.parquet             tasks; key steps' sentences as subtasks
    meta/episodes/chunk-000/file-000.parquet              a row an episode: where it lies, its statistics, key steps
    data/chunk-000/file-000.parquet                       a row a frame
    videos/observation.images.camera/chunk-000/file-000.mp4            the frames
    videos/observation.images.region_of_motion/chunk-000/file-000.mp4  the observed RoM, white where hands are
    ksgen/episode-000000.npz                              `ksgen_export.record`
    .staging/000000/                                      an episode added and not yet put in place
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ksgen_export.columns import Column, columns_of
from ksgen_export.episode import HAND_STATE_NAMES, EpisodeSchema
from ksgen_models.errors import DatasetError

VERSION = "v3.0"
CAMERA = "observation.images.camera"
REGION = "observation.images.region_of_motion"
VIDEOS = (CAMERA, REGION)
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
SUBTASKS = "meta/subtasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
RECORD = "ksgen/episode-{episode_index:06d}.npz"
STAGING = ".staging"
FILES_A_CHUNK = 1000
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def all_columns(schema: EpisodeSchema) -> tuple[Column, ...]:
    """The shared columns and the subtask, which LeRobot's reader looks up in ``meta/subtasks.parquet``."""
    return (*columns_of(schema), Column("subtask_index", "int64", (1,), ("subtask_index",)))


def make_features(schema: EpisodeSchema) -> dict[str, dict[str, Any]]:
    """The features of ``meta/info.json``; numbers of more than one axis lie flat, with a name each."""
    features: dict[str, dict[str, Any]] = {
        key: {
            "dtype": "video",
            "shape": [schema.height, schema.width, 3],
            "names": ["height", "width", "channels"],
        }
        for key in VIDEOS
    }
    for column in all_columns(schema):
        features[column.name] = {"dtype": column.dtype, "shape": [column.size], "names": list(column.names)}
    for name in COUNTERS:
        features[name] = {"dtype": "float32" if name == "timestamp" else "int64", "shape": [1], "names": None}
    return features


def make_info(schema: EpisodeSchema, robot_type: str | None) -> dict[str, Any]:
    """``meta/info.json`` of a dataset without episodes."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot_type,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": whole(schema.fps),
        "splits": {},
        "data_path": DATA,
        "video_path": VIDEO,
        "features": make_features(schema),
    }


def read_info(folder: Path) -> dict[str, Any]:
    """``meta/info.json``.

    Raises:
        DatasetError: there is none, or it is of another version.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text("utf-8"))
        version = info["codebase_version"]
        if not isinstance(info["features"], dict):
            raise TypeError("features is no table")
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{folder} is no LeRobot dataset ({exc!r}); give a folder with {INFO}") from exc
    if not str(version).startswith("v3."):
        raise DatasetError(f"{folder} has LeRobot's format {version}, this release reads v3.0; convert it with lerobot")
    return info


def schema_of(info: dict[str, Any]) -> EpisodeSchema:
    """What all episodes of the dataset share."""
    features = info["features"]
    camera = next((ft for key, ft in features.items() if ft["dtype"] == "video" and key != REGION), None)
    if camera is None:
        raise DatasetError("the dataset has no video feature; give one with a camera")
    height, width = camera["shape"][:2]
    acts = "observation.state" in features and "action" in features
    state_names, action_names = (
        _names(features[name]) if acts else HAND_STATE_NAMES for name in ("observation.state", "action")
    )
    return EpisodeSchema(
        fps=float(info["fps"]),
        height=height,
        width=width,
        robot=action_names != HAND_STATE_NAMES,
        state_names=state_names,
        action_names=action_names,
    )


def place(number: int) -> dict[str, int]:
    """Chunk and file index of the ``number``-th file."""
    return {"chunk_index": number // FILES_A_CHUNK, "file_index": number % FILES_A_CHUNK}


def whole(fps: float) -> float | int:
    """LeRobot expects an integer where there is one."""
    return int(fps) if float(fps).is_integer() else float(fps)


def _names(feature: dict[str, Any]) -> tuple[str, ...]:
    names = feature.get("names")
    if isinstance(names, dict):  # some datasets group them: {"motors": [...]}
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    size = feature["shape"][0]
    return tuple(map(str, names)) if names and len(names) == size else tuple(str(index) for index in range(size))
