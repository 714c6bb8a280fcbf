"""Video files to clips and back, through PyAV. Import it where it is used: it loads FFmpeg."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ksgen_models.errors import InvalidClip

_DEFAULT_FPS = 30.0


def check_clip(clip: Any) -> NDArray[np.uint8]:
    """Return the clip as it is when it is (T, H, W, 3) uint8 with at least one frame of at least 2×2 pixels.

    Raises:
        InvalidClip: it is anything else; the message says what it is.
    """
    if not isinstance(clip, np.ndarray):
        raise InvalidClip(f"a clip is a NumPy array (T, H, W, 3) of uint8, this is a {type(clip).__name__}")
    if clip.ndim != 4 or clip.shape[3] != 3:
        raise InvalidClip(f"a clip has shape (T, H, W, 3) in RGB, this one has {clip.shape}; stack frames along axis 0")
    if clip.dtype != np.uint8:
        raise InvalidClip(f"a clip holds uint8 in 0..255, this one holds {clip.dtype}; convert it first")
    if clip.shape[0] < 1 or clip.shape[1] < 2 or clip.shape[2] < 2:
        raise InvalidClip(f"a clip has at least one frame of at least 2×2 pixels, this one has shape {clip.shape}")
    return clip


def read_video(path: str | os.PathLike[str], max_frames: int | None = None) -> tuple[NDArray[np.uint8], float]:
    """Decode a video file (or animated GIF).

    Args:
        path: any file that FFmpeg reads.
        max_frames: stop after so many frames.

    Returns:
        (T, H, W, 3) uint8 RGB, and its frames a second (30 where the file does not say).

    Raises:
        InvalidClip: the file is missing or holds no video that can be decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidClip(f"there is no video file {path}")
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InvalidClip(f"{path} holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            fps = float(stream.average_rate) if stream.average_rate else _DEFAULT_FPS
            for frame in container.decode(stream):
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                if max_frames is not None and len(frames) >= max_frames:
                    break
    except (FFmpegError, ValueError, MemoryError) as exc:
        if isinstance(exc, InvalidClip):
            raise
        raise InvalidClip(f"{path} cannot be decoded as a video ({exc})") from exc
    if not frames:
        raise InvalidClip(f"{path} holds no frames")
    if any(frame.shape != frames[0].shape for frame in frames):
        raise InvalidClip(f"{path} changes its frame size on the way; cut it into pieces of one size")
    return check_clip(np.stack(frames)), fps


def write_video(path: str | os.PathLike[str], clip: NDArray[np.uint8], fps: float, quality: int = 18) -> None:
    """Write a clip as H.264 in an MP4 file; the file appears whole or not at all.

    Args:
        path: the file; its folder is made when it is missing.
        clip: (T, H, W, 3) uint8; odd heights and widths lose their last row or column.
        fps: frames a second.
        quality: x264's constant rate factor, 0 (lossless) to 51.

    Raises:
        InvalidClip: not a clip, or ``fps`` is not a positive number.
    """
    check_clip(clip)
    if not (np.isfinite(fps) and fps > 0):
        raise InvalidClip(f"frames a second must be a positive number, not {fps}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    height, width = clip.shape[1] // 2 * 2, clip.shape[2] // 2 * 2  # 4:2:0 chroma wants even sizes
    try:
        with av.open(str(partial), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.options = {"crf": str(quality), "movflags": "+faststart"}
            for image in clip[:, :height, :width]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
            container.mux(stream.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
