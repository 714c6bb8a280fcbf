"""Demonstrations as training sees them: many compressed episodes in memory, frames decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import CLIP_FRAMES, Camera, decode_picture, episode_meta, list_episodes, split_blobs
from ksgen_models.errors import DatasetError


@dataclass(frozen=True)
class Episode:
    """One demonstration, its pictures still compressed.

    Attributes:
        env_id, descriptions, objects: as in `ksgen_models.demonstration.Demonstration`.
        look: (6,) float32, skin and sleeve RGB.
        images: PNG bytes of the S + 1 key-step and goal images.
        frames: JPEG bytes of the S * 16 clip frames; none in an episode of stills.
        keypoints: (S, 16, 2, 21, 3) float32.
        ways: (S, K, 16, 2, 21, 3) float32, keypoints of K further ways to do each step; K may be 0.
        centres: (S + 1, O, 2) float32, where the objects' centres are in each image, as shares of its width and height;
            NaN behind the camera.
    """

    env_id: str
    descriptions: tuple[str, ...]
    objects: tuple[str, ...]
    look: NDArray[np.float32]
    images: tuple[NDArray[np.uint8], ...]
    frames: tuple[NDArray[np.uint8], ...]
    keypoints: NDArray[np.float32]
    ways: NDArray[np.float32]
    centres: NDArray[np.float32]

    @property
    def steps(self) -> int:
        """Number of key steps."""
        return len(self.descriptions)

    @property
    def has_clips(self) -> bool:
        """It is not one of stills."""
        return bool(self.frames)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Key-step image ``index``, or the goal for ``index == steps``: (H, W, 3) uint8."""
        return decode_picture(self.images[index])

    def frame(self, step: int, time: int) -> NDArray[np.uint8]:
        """Frame ``time`` of the clip of ``step``: (H, W, 3) uint8."""
        return decode_picture(self.frames[step * CLIP_FRAMES + time])


def read_episodes(folder: str | Path, *, limit: int | None = None) -> list[Episode]:
    """Read the episodes of a data set, compressed as they are.

    Raises:
        DatasetError: no episode there, or one cannot be read.
    """
    return [_read(path) for path in list_episodes(folder)[:limit]]


def vocabulary(episodes: Iterable[Episode]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All scene kinds and all object names, sorted."""
    episodes = list(episodes)
    scenes = sorted({episode.env_id for episode in episodes})
    objects = sorted({name for episode in episodes for name in episode.objects})
    return tuple(scenes), tuple(objects)


def _read(path: Path) -> Episode:
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = episode_meta(archive["meta"], path)
            images, images_at = archive["images"], archive["images_at"]
            clips, clips_at = archive["clips"], archive["clips_at"]
            keypoints = archive["keypoints"]
            camera = Camera(archive["camera"][:3, :3], archive["camera"][3:])
            places = camera.project(archive["poses"][..., :3])
            centres = np.where(places[..., 2:] > 0, places[..., :2] / meta["size"][::-1], np.nan)
            none = np.zeros((len(meta["descriptions"]), 0, CLIP_FRAMES, *keypoints.shape[2:]), np.float32)
            ways = archive["ways"] if "ways" in archive.files else none
    except DatasetError:
        raise
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable episode ({exc}); delete it and generate it anew") from exc
    return Episode(
        env_id=meta["env_id"],
        descriptions=tuple(meta["descriptions"]),
        objects=tuple(meta["objects"]),
        look=np.array(meta["look"]["skin"] + meta["look"]["sleeve"], np.float32),
        images=tuple(split_blobs(images, images_at)),
        frames=tuple(split_blobs(clips, clips_at)),
        keypoints=keypoints,
        ways=ways,
        centres=centres.astype(np.float32),
    )
