"""A subclip on disk: 16 frames of a real video with its hand track and pseudo region of motion.

One NumPy archive without pickled objects:

==================  ================================================================================================
``meta``            UTF-8 JSON as uint8: format version, video, source, task, description, start, fps, size
``clip``            JPEG bytes (quality 95, no chroma subsampling) of the T frames, joined
``clip_at``         (T + 1,) int64 offsets into ``clip``
``keypoints``       (T, 2, 21, 3) float32; this and the next four as in `ksgen_models.types.HandTrack`
``world``           (T, 2, 21, 3) float32
``confidence``      (T, 2) float32
``valid``           (T, 2) bool
``interpolated``    (T, 2) bool
``region``          (T, H, W) bool, the hulls of the single frames, packed along the last axis with ``numpy.packbits``
==================  ================================================================================================
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import decode_picture, split_blobs
from ksgen_models.errors import DatasetError
from ksgen_models.rom import observed_region
from ksgen_models.types import HandTrack

FORMAT_VERSION = 1
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Subclip:
    """A kept subclip.

    Attributes:
        video, source, task, description: as in `ksgen_export.curation.segments.StepSegment`.
        start: seconds from the start of the video.
        fps: frames a second.
        clip: (T, H, W, 3) uint8.
        hands: the hand track of ``clip``.
        per_frame: (T, H, W) bool, the pseudo region of motion of the single frames (IVG §3.1.1).
    """

    video: str
    source: str
    task: str
    description: str
    start: float
    fps: float
    clip: NDArray[np.uint8]
    hands: HandTrack
    per_frame: NDArray[np.bool_]

    @property
    def region_of_motion(self) -> NDArray[np.bool_]:
        """(H, W) bool, united over time."""
        return np.asarray(self.per_frame.any(axis=0))


def pseudo_region(clip: NDArray[np.uint8], hands: HandTrack) -> NDArray[np.bool_]:
    """The region of motion (T, H, W) bool that a hand track stands for."""
    return observed_region(hands, *clip.shape[1:3])[0]


def save_subclip(subclip: Subclip, path: str | Path) -> None:
    """Write one subclip; the file appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    blobs = [_jpeg(frame) for frame in subclip.clip]
    meta = {
        "format": FORMAT_VERSION,
        "video": subclip.video,
        "source": subclip.source,
        "task": subclip.task,
        "description": subclip.description,
        "start": subclip.start,
        "fps": subclip.fps,
        "size": list(subclip.clip.shape[1:3]),
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        clip=np.frombuffer(b"".join(blobs), np.uint8),
        clip_at=np.cumsum([0, *(len(blob) for blob in blobs)]).astype(np.int64),
        keypoints=subclip.hands.keypoints,
        world=subclip.hands.world,
        confidence=subclip.hands.confidence,
        valid=subclip.hands.valid,
        interpolated=subclip.hands.interpolated,
        region=np.packbits(subclip.per_frame, axis=-1),
    )
    write_whole(Path(path), buffer.getvalue())


def load_subclip(path: str | Path) -> Subclip:
    """Read one subclip.

    Raises:
        DatasetError: the file is not a subclip of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
        meta = json.loads(data["meta"].tobytes())
        if meta["format"] != FORMAT_VERSION:
            raise ValueError(f"format {meta['format']}, this version reads {FORMAT_VERSION}")
        clip = np.stack([decode_picture(blob) for blob in split_blobs(data["clip"], data["clip_at"])])
        track = (data[name] for name in ("keypoints", "world", "confidence", "valid", "interpolated"))
        return Subclip(
            video=meta["video"],
            source=meta["source"],
            task=meta["task"],
            description=meta["description"],
            start=float(meta["start"]),
            fps=float(meta["fps"]),
            clip=clip,
            hands=HandTrack(*track),
            per_frame=np.unpackbits(data["region"], axis=-1, count=meta["size"][1]).astype(bool),
        )
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable subclip ({exc}); delete it and curate again") from exc


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, blob = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    return blob.tobytes()
