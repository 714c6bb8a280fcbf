"""Videos of datasets, through PyAV: encode, join without encoding anew, and read single frames exactly.

Import it where it is used: it loads FFmpeg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError, InvalidInput


@dataclass(frozen=True)
class VideoOptions:
    """How frames are encoded.

    Attributes:
        codec: an encoder of FFmpeg.
        pixel_format: ``yuv444p`` keeps colour at full resolution: at one file size 4 to 8 dB better on Workbench
            frames than ``yuv420p``, which however every browser plays.
        quality: constant rate factor; smaller is better and larger.
        key_frame_every: frames; small values make random access cheap. LeRobot uses 2.
        preset: the encoder's trade of time for size; empty takes the encoder's own.
    """

    codec: str = "libx264"
    pixel_format: str = "yuv444p"
    quality: int = 18
    key_frame_every: int = 2
    preset: str = "veryfast"


def encode_video(path: Path, frames: NDArray[np.uint8], fps: float, options: VideoOptions) -> None:
    """Encode (T, H, W, 3) uint8 as an MP4 whose frame i has the timestamp i / fps.

    Raises:
        InvalidInput: odd sizes with a pixel format that wants even ones.
    """
    height, width = frames.shape[1:3]
    if options.pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise InvalidInput(f"frames of {width}×{height} pixels; yuv420p wants even sizes, crop them or take yuv444p")
    settings = {"crf": str(options.quality), "g": str(options.key_frame_every)}
    if options.preset:
        settings["preset"] = options.preset
    if options.codec == "libx264":
        settings["bf"] = "0"  # without B frames the order of packets is that of frames, and files join cleanly
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(options.codec, rate=_rate(fps), options=settings)
        stream.height, stream.width, stream.pix_fmt = height, width, options.pixel_format
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def join_videos(sources: Sequence[tuple[Path, int]], target: Path, fps: float) -> None:
    """Put videos of one encoder and size behind each other without encoding them anew.

    Args:
        sources: (file, its number of frames) pairs.
        target: the MP4 to write.
        fps: frames a second of all of them.
    """
    with av.open(str(target), "w", format="mp4") as joined:
        stream = None
        done = 0
        for path, count in sources:
            with av.open(str(path)) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(source)
                assert source.time_base is not None
                shift = round(Fraction(done) / _rate(fps) / source.time_base)
                for packet in container.demux(source):
                    if packet.pts is None or packet.dts is None:  # the flush at the end
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    joined.mux(packet)
            done += count


def read_frames(path: Path, start: float, count: int, fps: float) -> NDArray[np.uint8]:
    """Decode ``count`` frames from the timestamp ``start`` (seconds) on, exactly those.

    Raises:
        DatasetError: the file is missing, damaged, or does not hold these frames.
    """
    wanted = round(start * fps)
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            assert stream.time_base is not None
            # The key frame at or before: half a frame later, so that rounding cannot land on the one before.
            container.seek(int((wanted + 0.5) / fps / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                place = round(float((frame.pts or 0) * stream.time_base) * fps)
                if place != wanted + len(frames):
                    if place > wanted + len(frames):
                        break
                    continue
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                if len(frames) == count:
                    return np.stack(frames)
    except (FFmpegError, OSError, IndexError, ValueError) as exc:
        raise DatasetError(f"{path} cannot be decoded ({exc}); write the dataset anew or restore the file") from exc
    raise DatasetError(
        f"{path} holds {len(frames)} of the {count} frames from {start:g} s on; write the dataset anew or restore it"
    )


def describe_video(path: Path) -> dict[str, Any]:
    """What LeRobot's ``meta/info.json`` says of a video feature."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.base_rate or stream.average_rate
        assert rate is not None
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": int(rate) if rate.denominator == 1 else float(rate),
            "video.channels": 3,
            "has_audio": False,
        }


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)
