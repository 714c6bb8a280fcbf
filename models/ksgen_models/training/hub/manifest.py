"""What a run trains on: the clips of a curated folder, read by the columns that docs/curation.md documents.

Only pyarrow is needed to read the manifest; the package that writes it stands above this one and is not imported.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import decode_picture, split_blobs
from ksgen_models.errors import DatasetError, KSGenError

MANIFEST = "manifest.parquet"
COLUMNS = ("video", "task", "description", "segment", "start", "fps", "status", "clip")
"""Columns of the manifest that training reads."""
_KEPT = "kept"
_FORMAT = 1


@dataclass(frozen=True)
class ClipRef:
    """A kept clip of a manifest.

    Attributes:
        path: its file.
        video, task, description, segment, start, fps: as in the manifest.
        digest: SHA-256 of the file.
    """

    path: Path
    video: str
    task: str
    description: str
    segment: int
    start: float
    fps: float
    digest: str

    @property
    def sentence(self) -> str:
        """What the models are told: the step's sentence, else the task, else nothing."""
        return self.description or self.task


@dataclass(frozen=True)
class TrainingClip:
    """A clip at the size that a run trains at.

    Attributes:
        frames: (T, H, W, 3) uint8.
        keypoints: (T, 2, 21, 3) float32, x and y normalised to ``frames``, NaN where absent.
        regions: (T, H, W) bool, the pseudo region of motion of each frame (IVG §3.1.1).
    """

    frames: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    regions: NDArray[np.bool_]

    @property
    def region(self) -> NDArray[np.bool_]:
        """(H, W) united over time."""
        return np.asarray(self.regions.any(axis=0))


def read_clips(folder: str | Path) -> list[ClipRef]:
    """The kept clips of a curated folder, in its order.

    Raises:
        DatasetError: no manifest, a column is missing, a clip is missing or lies elsewhere, or nothing was kept.
    """
    folder = Path(folder)
    rows = _rows(folder / MANIFEST)
    kept = [row for row in rows if row["status"] == _KEPT]
    if not kept:
        raise DatasetError(
            f"{folder / MANIFEST} keeps none of its {len(rows)} parts; see in {folder / 'report.html'} what they were "
            "dropped for, and curate again with other thresholds or more video"
        )
    return [_reference(folder, row) for row in kept]


def load_clip(reference: ClipRef, height: int, width: int, frames: int) -> TrainingClip:
    """Read a clip, its first ``frames`` frames, covering (height, width) and cropped around the centre.

    Where one frame is missing, the last is held: 16 frames are one short of what causal VAEs take.

    Raises:
        DatasetError: the file is not a clip of this format, or has fewer frames.
    """
    pictures, keypoints, regions = _read(reference.path)
    length = len(pictures)
    if length + 1 < frames:
        raise DatasetError(f"{reference.path} has {length} frames and {frames} are needed; give fewer frames")
    chosen = np.arange(frames).clip(max=length - 1)
    return _fitted(pictures[chosen], keypoints[chosen], regions[chosen], height, width)


def clip_length(reference: ClipRef) -> int:
    """Frames of a clip. Raises `DatasetError` as `load_clip`."""
    return len(_read(reference.path)[0])


def clip_size(reference: ClipRef) -> tuple[int, int]:
    """Height and width of a clip. Raises `DatasetError` as `load_clip`."""
    height, width = _read(reference.path)[0].shape[1:3]
    return int(height), int(width)


def held_out(references: list[ClipRef], number: int) -> tuple[list[ClipRef], list[ClipRef]]:
    """Clips to train on and up to ``number`` clips to validate on, which come from other videos where possible.

    At least half of the videos (or, of a single video, of its clips) stay for training.

    Raises:
        DatasetError: there is only one clip.
    """
    if len(references) < 2:
        raise DatasetError(f"{references[0].path.parent} holds one clip; curate more, one of two is held out")
    by_video: dict[str, list[ClipRef]] = defaultdict(list)
    for reference in references:
        by_video[reference.video].append(reference)
    if len(by_video) == 1:
        cut = len(references) - min(number, len(references) // 2)
        return references[:cut], references[cut:]
    # By a hash of the name: adding videos does not move those that are there from one side to the other by order.
    names = sorted(by_video, key=lambda name: hashlib.sha256(name.encode()).digest())
    out: list[ClipRef] = []
    for name in names[: len(names) // 2]:
        if len(out) >= number:
            break
        out += by_video[name]
    videos = {reference.video for reference in out}
    return [reference for reference in references if reference.video not in videos], out[:number]


def digest_of(references: Iterable[ClipRef]) -> str:
    """One hash for a set of clips in their order."""
    return hashlib.sha256("".join(reference.digest for reference in references).encode()).hexdigest()


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DatasetError(f"there is no {path}; make it with: ksgen-agent curate --videos VIDEOS --out {path.parent}")
    try:
        missing = [name for name in COLUMNS if name not in pq.read_schema(path).names]
        if missing:
            raise DatasetError(
                f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it is no manifest of "
                "this version, curate anew"
            )
        return pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    except (OSError, pa.ArrowException) as exc:
        raise DatasetError(f"{path} is not a readable manifest ({exc}); run ksgen-agent curate") from exc


def _reference(folder: Path, row: dict[str, Any]) -> ClipRef:
    try:
        path = folder / row["clip"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DatasetError(f'{folder / MANIFEST} names the clip "{row["clip"]}", which lies outside its folder')
        return ClipRef(
            path=path,
            video=str(row["video"]),
            task=str(row["task"] or ""),
            description=str(row["description"] or ""),
            segment=int(row["segment"]),
            start=float(row["start"]),
            fps=float(row["fps"]),
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except OSError as exc:
        raise DatasetError(f"the clip {folder / str(row['clip'])} cannot be read ({exc}); curate again") from exc
    except (TypeError, ValueError) as exc:
        raise DatasetError(f"{folder / MANIFEST} has a row that makes no sense ({exc}); curate anew") from exc


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """Pictures (T, H, W, 3), keypoints (T, 2, 21, 3) and regions (T, H, W) of a clip's file."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            data = {name: archive[name] for name in ("meta", "clip", "clip_at", "keypoints", "valid", "region")}
        meta = json.loads(data["meta"].tobytes())
        if meta["format"] != _FORMAT:
            raise ValueError(f"format {meta['format']}, this version reads {_FORMAT}")
        pictures = np.stack([decode_picture(blob) for blob in split_blobs(data["clip"], data["clip_at"])])
        regions = np.unpackbits(data["region"], axis=-1, count=pictures.shape[2]).astype(bool)
        keypoints = np.where(data["valid"][..., None, None], data["keypoints"], np.float32(np.nan))
        if regions.shape != pictures.shape[:3] or keypoints.shape != (len(pictures), 2, 21, 3):
            raise ValueError(f"pictures {pictures.shape}, regions {regions.shape} and hands {keypoints.shape} differ")
        return pictures, keypoints.astype(np.float32), regions
    except KSGenError:
        raise
    except Exception as exc:
        raise DatasetError(f"{path} is not a readable clip ({exc}); delete it and curate again") from exc


def _fitted(
    pictures: NDArray[np.uint8],
    keypoints: NDArray[np.float32],
    regions: NDArray[np.bool_],
    height: int,
    width: int,
) -> TrainingClip:
    import cv2

    old_height, old_width = pictures.shape[1:3]
    scale = max(height / old_height, width / old_width)
    tall, wide = max(round(old_height * scale), height), max(round(old_width * scale), width)
    top, left = (tall - height) // 2, (wide - width) // 2
    window = np.s_[top : top + height, left : left + width]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.stack([cv2.resize(picture, (wide, tall), interpolation=method)[window] for picture in pictures])
    shares = [cv2.resize(region.astype(np.float32), (wide, tall), interpolation=method) for region in regions]
    moved = keypoints.copy()
    moved[..., 0] = (keypoints[..., 0] * wide - left) / width
    moved[..., 1] = (keypoints[..., 1] * tall - top) / height
    return TrainingClip(resized, moved, np.stack([share[window] >= 0.5 for share in shares]))
