"""Episodes added to a LeRobot dataset and not yet put in place.

LeRobot keeps many episodes in one file. So that a kill at any moment loses nothing that was added, every episode first
lies in a folder of its own, complete or not there at all, and `LeRobotWriter.close` joins them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_export.columns import fill_columns
from ksgen_export.episode import Episode
from ksgen_export.lerobot import layout
from ksgen_export.lerobot.stats import column_stats, picture_stats, plain
from ksgen_export.record import pack_record
from ksgen_export.video import VideoOptions, encode_video

_ABOUT, _COLUMNS, _RECORD = "episode.json", "columns.npz", "record.npz"


@dataclass(frozen=True)
class StagedEpisode:
    """A complete episode in its folder.

    Attributes:
        index: of the episode in the dataset.
        folder: where it lies.
        about: task, length, key steps (description, start, stop) and the statistics of all that is known of it alone.
    """

    index: int
    folder: Path
    about: dict[str, Any]

    @property
    def length(self) -> int:
        """Number of frames."""
        return int(self.about["length"])

    @property
    def task(self) -> str:
        """What is done."""
        return self.about["task"]

    @property
    def key_steps(self) -> list[dict[str, Any]]:
        """``description``, ``start`` and ``stop`` of each."""
        return self.about["key_steps"]

    @property
    def record(self) -> Path:
        """The file that `ksgen_export.record` describes."""
        return self.folder / _RECORD

    def video(self, key: str) -> Path:
        """The file of a video feature."""
        return self.folder / f"{key}.mp4"

    def columns(self) -> dict[str, NDArray[Any]]:
        """Columns of `fill_columns`."""
        with np.load(self.folder / _COLUMNS, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def stage_episode(episode: Episode, index: int, staging: Path, options: VideoOptions) -> StagedEpisode:
    """Encode and write one episode; the folder appears whole or not at all."""
    partial = staging / f".{index:06d}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        region = region_video(episode)
        encode_video(partial / f"{layout.CAMERA}.mp4", episode.frames, episode.fps, options)
        encode_video(partial / f"{layout.REGION}.mp4", region, episode.fps, options)
        columns = fill_columns(episode)
        np.savez(partial / _COLUMNS, allow_pickle=False, **columns)
        (partial / _RECORD).write_bytes(pack_record(episode))
        stats = {layout.CAMERA: picture_stats(episode.frames), layout.REGION: picture_stats(region)}
        stats |= {name: column_stats(values) for name, values in columns.items() if values.dtype.kind != "U"}
        about = {
            "task": episode.task,
            "length": len(episode),
            "key_steps": [
                {"description": step.description, "start": step.start, "stop": step.stop} for step in episode.key_steps
            ],
            "stats": {name: plain(values) for name, values in stats.items()},
        }
        (partial / _ABOUT).write_text(json.dumps(about), "utf-8")
        partial.rename(staging / f"{index:06d}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return StagedEpisode(index, staging / f"{index:06d}", about)


def staged_episodes(staging: Path, first: int) -> list[StagedEpisode]:
    """All complete episodes from index ``first`` on, without a gap; what lies below was put in place already."""
    found = []
    while (folder := staging / f"{first + len(found):06d}").is_dir():
        about = json.loads((folder / _ABOUT).read_text("utf-8"))
        found.append(StagedEpisode(first + len(found), folder, about))
    return found


def region_video(episode: Episode) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8: the observed RoM of each frame, 255 where hands are."""
    masks = np.concatenate([step.region_of_motion.per_frame for step in episode.key_steps])
    return np.repeat(masks[..., None].astype(np.uint8) * np.uint8(255), 3, axis=-1)
