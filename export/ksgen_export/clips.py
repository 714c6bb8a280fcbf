"""`EpisodeClips`: the key steps of a dataset as clips that `ksgen_models.metrics` compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_export.episode import Episode
from ksgen_export.formats import EpisodeSource, open_source
from ksgen_models.errors import DatasetError
from ksgen_models.metrics.clips import ClipEntry, ClipSource, open_clips

_MARKERS = ("meta/info.json", "dataset.hdf5", "data/metadata.json")


class EpisodeClips:
    """The key steps of a LeRobot, robomimic or Minari dataset; satisfies `ksgen_models.metrics.clips.ClipSource`.

    A clip's key is ``episode_000000/step_00``: two datasets are compared episode by episode in their order, or with a
    folder whose files are called so.

    Args:
        source: an opened dataset. Every episode is read once to list its key steps.
    """

    def __init__(self, source: EpisodeSource) -> None:
        self._source = source
        self._entries: dict[str, ClipEntry] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._last: tuple[int, Episode] | None = None
        changed = max(path.stat().st_mtime_ns for path in _marking_files(source.folder))
        for index, episode in enumerate(source):
            for number, step in enumerate(episode.key_steps):
                key = f"episode_{index:06d}/step_{number:02d}"
                mark = f"{source.folder.resolve()}:{index}:{len(episode.frames)}:{changed}"
                self._entries[key] = ClipEntry(key, episode.task, step.description, source.folder, number, mark)
                self._places[key] = (index, number)

    def entries(self) -> Mapping[str, ClipEntry]:
        """Every key step, episode after episode."""
        return self._entries

    def load(self, key: str) -> tuple[NDArray[np.uint8], float]:
        """The frames (T, H, W, 3) uint8 in which a key step is done, and frames a second.

        Raises:
            DatasetError: the episode is damaged.
        """
        index, number = self._places[key]
        if self._last is None or self._last[0] != index:
            self._last = (index, self._source[index])
        episode = self._last[1]
        step = episode.key_steps[number]
        return episode.frames[step.start : step.stop], episode.fps


def open_any_clips(folder: str | Path) -> ClipSource:
    """Clips of a dataset, or whatever else `ksgen_models.metrics.clips.open_clips` knows.

    Raises:
        DatasetError: there are no clips in the folder.
    """
    folder = Path(folder)
    if not _marking_files(folder):
        return open_clips(folder)
    clips = EpisodeClips(open_source(folder))
    if not clips.entries():
        raise DatasetError(f"{folder} is a dataset without an episode; write some with `ksgen-agent export`")
    return clips


def _marking_files(folder: Path) -> list[Path]:
    return [folder / name for name in _MARKERS if (folder / name).is_file()]
