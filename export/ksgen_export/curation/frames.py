"""Videos in stretches of at most twenty seconds, sampled and made smaller, so that memory stays bounded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from ksgen_models.errors import InvalidClip

LONGEST = 160
"""Frames of a stretch, at most."""
_THUMBNAIL = (48, 27)  # width, height: what TransNetV2 looks at
_MOST_PIXELS = 8192 * 4320
_DEFAULT_FPS = 30.0  # of files that do not say
_SHORT_BY = 1.0  # seconds: annotations may end a little after their video


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says.

    Attributes:
        height, width: pixels, as stored.
        fps: frames a second; 30 where the file does not say.
        duration: seconds; NaN where the file does not say.
    """

    height: int
    width: int
    fps: float
    duration: float


@dataclass(frozen=True)
class Stretch:
    """Some seconds of a video.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB, sampled at the wanted rate.
        times: (T,) float64, seconds from the start of the video.
        thumbnails: (N, 27, 48, 3) uint8, every frame of the video in this stretch.
        places: (T,) int64, the thumbnail of each sampled frame.
        last: nothing follows it in its segment.
    """

    frames: NDArray[np.uint8]
    times: NDArray[np.float64]
    thumbnails: NDArray[np.uint8]
    places: NDArray[np.int64]
    last: bool

    def followed_by(self, other: Stretch) -> Stretch:
        """Both as one; the frame sizes must be the same."""
        return Stretch(
            np.concatenate([self.frames, other.frames]),
            np.concatenate([self.times, other.times]),
            np.concatenate([self.thumbnails, other.thumbnails]),
            np.concatenate([self.places, other.places + len(self.thumbnails)]),
            other.last,
        )

    def tail(self, start: int) -> Stretch:
        """The sampled frames from ``start`` on."""
        first = int(self.places[start])
        places = self.places[start:] - first
        return Stretch(self.frames[start:], self.times[start:], self.thumbnails[first:], places, self.last)


def video_facts(path: str | os.PathLike[str]) -> VideoFacts:
    """Read a video's header.

    Raises:
        InvalidClip: the file is missing, is no video, or its frames are larger than any real video's.
    """
    try:
        with av.open(os.fspath(path)) as container:
            stream = _video_stream(container, path)
            rate = stream.average_rate or stream.guessed_rate
            duration = float(container.duration) / av.time_base if container.duration else float("nan")
            facts = VideoFacts(stream.height, stream.width, float(rate or _DEFAULT_FPS), duration)
    except (FFmpegError, ValueError, OSError) as exc:
        if isinstance(exc, InvalidClip):
            raise
        raise InvalidClip(f"{path} cannot be read as a video ({exc}); fetch it anew") from exc
    if not 0 < facts.height * facts.width <= _MOST_PIXELS:
        raise InvalidClip(f"{path} has frames of {facts.width}×{facts.height} pixels, which is no video's size")
    return facts


def read_stretches(
    path: str | os.PathLike[str], start: float, stop: float, *, fps: float, side: int
) -> Iterator[Stretch]:
    """Decode a part of a video, stretch by stretch.

    Args:
        path: the video.
        start, stop: seconds; ``stop`` may be infinite.
        fps: frames a second to sample, each the first one at or after its time.
        side: frames with a longer shorter side are made smaller, to this many pixels.

    Raises:
        InvalidClip: the file cannot be decoded, ends more than a second early, or changes its frame size; what came
            before is yielded first.
    """
    facts = video_facts(path)
    expected = stop if math.isfinite(stop) else facts.duration
    pending, reached, seen = _Pending(), min(start, facts.duration), False
    failure: Exception | None = None
    try:
        with av.open(os.fspath(path)) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            for image, time in _decode(container, stream, start, stop, facts.fps):
                reached, seen = time, True
                if pending.full and pending.wants(time, start, fps, facts.fps):
                    yield pending.take(last=False)
                pending.add(image, time, start, fps, facts.fps, side)
    except (FFmpegError, ValueError, MemoryError, OSError) as exc:
        failure = exc
    if pending.frames:
        yield pending.take(last=True)
    if failure is not None:
        raise InvalidClip(f"{path} cannot be decoded after {reached:.2f} s ({failure}); fetch it anew") from failure
    if reached < expected - _SHORT_BY or not seen:  # where nothing is expected (NaN), nothing is missed
        raise InvalidClip(f"{path} ends after {reached:.2f} s, the segment at {expected:.2f} s; fetch it anew")


class _Pending:
    """The stretch that is being filled."""

    def __init__(self) -> None:
        self._clear()
        self._next = 0  # number of the next frame to sample
        self._shape: tuple[int, ...] | None = None

    @property
    def full(self) -> bool:
        return len(self.frames) >= LONGEST

    def wants(self, time: float, start: float, fps: float, own_fps: float) -> bool:
        """Whether the frame at ``time`` is the next one to sample; half a frame early is in time."""
        return time >= start + self._next / fps - 0.5 / own_fps

    def add(self, image: av.VideoFrame, time: float, start: float, fps: float, own_fps: float, side: int) -> None:
        small = image.reformat(*_THUMBNAIL, format="rgb24", interpolation="AREA")
        self.thumbnails.append(np.asarray(small.to_ndarray(), np.uint8))
        if self.wants(time, start, fps, own_fps):
            scale = min(1.0, side / min(image.height, image.width))
            size = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
            frame = np.asarray(image.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray(), np.uint8)
            self._shape = self._shape or frame.shape
            if frame.shape != self._shape:
                raise ValueError("its frame size changes")
            self.frames.append(frame)
            self.times.append(time)
            self.places.append(len(self.thumbnails) - 1)
            self._next = math.floor((time - start + 0.5 / own_fps) * fps) + 1

    def take(self, *, last: bool) -> Stretch:
        stretch = Stretch(
            np.stack(self.frames),
            np.array(self.times),
            np.stack(self.thumbnails),
            np.array(self.places, np.int64),
            last,
        )
        self._clear()
        return stretch

    def _clear(self) -> None:
        self.frames: list[NDArray[np.uint8]] = []
        self.times: list[float] = []
        self.thumbnails: list[NDArray[np.uint8]] = []
        self.places: list[int] = []


def _decode(
    container: InputContainer, stream: av.VideoStream, start: float, stop: float, fps: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames and their times in seconds, from ``start`` up to, not including, ``stop``."""
    origin = stream.start_time or 0
    base = float(stream.time_base or 0)
    if start > 0 and base:
        container.seek(origin + int(start / base), stream=stream)
    for number, frame in enumerate(container.decode(stream)):
        time = (frame.pts - origin) * base if frame.pts is not None else number / fps
        if time >= stop - 0.5 / fps:
            return
        if time >= start - 0.5 / fps:
            yield frame, time


def _video_stream(container: InputContainer, path: str | os.PathLike[str]) -> av.VideoStream:
    if not container.streams.video:
        raise InvalidClip(f"{Path(path)} holds no video stream")
    return container.streams.video[0]
