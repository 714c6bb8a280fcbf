"""Curating one video: its step segments one after the other, each stretch by stretch, to rows and subclips."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.duplicates import frame_hashes
from ksgen_export.curation.filters.scaling import narrowed
from ksgen_export.curation.frames import Stretch, VideoFacts, read_stretches, video_facts
from ksgen_export.curation.manifest import FAILED, KEPT, REJECTED, Row
from ksgen_export.curation.measure import Measured, Tools, measure
from ksgen_export.curation.parts import Part
from ksgen_export.curation.segments import WHOLE, StepSegment
from ksgen_export.curation.subclip import Subclip, pseudo_region, save_subclip
from ksgen_export.curation.thresholds import Thresholds
from ksgen_models.errors import DatasetError, InvalidClip, KSGenError

_STRIP, _STRIP_WIDTH = 4, 112


@dataclass(frozen=True)
class Video:
    """One video of a job.

    Attributes:
        name: its id in the data set.
        path: its file.
        relative: the same, relative to the folder of videos.
        segments: its step segments, by time.
    """

    name: str
    path: Path
    relative: str
    segments: tuple[StepSegment, ...]

    @property
    def slug(self) -> str:
        """A name for files, different for every video."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:10]
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', self.name).strip('.')[:60]}-{digest}"


def curate_video(video: Video, out: Path, tools: Tools, thresholds: Thresholds, side: int) -> list[Row]:
    """Decide on every segment of a video and write its subclips; what fails becomes a row and the rest goes on.

    Args:
        video: which.
        out: the job's folder.
        tools: as `ksgen_export.curation.measure.load_tools` gives them.
        thresholds: what is kept.
        side: subclips with a longer shorter side are made smaller, to this many pixels.
    """
    rows: list[Row] = []
    for number, segment in enumerate(video.segments):
        blank = _blank_row(video, segment, number)
        try:
            facts = video_facts(video.path)
            blank = replace(blank, height=facts.height, width=facts.width)
            unfit = _unfit(facts, thresholds)
            if unfit:
                rows.append(replace(blank, status=REJECTED, reasons=unfit, stop=_end(segment, facts)))
                continue
            for stretch in _carried(video, segment, tools, thresholds, side):
                rows += _write(stretch, blank, video, out, thresholds)
        except KSGenError as exc:
            rows.append(replace(blank, detail=f"{type(exc).__name__}: {exc}"))
        except OSError as exc:
            rows.append(
                replace(
                    blank,
                    detail=f"{DatasetError.__name__}: cannot write to {out} ({exc}); free space or "
                    "name another folder, then run again",
                )
            )
    return rows


def missing_video(segment: StepSegment, number: int) -> Row:
    """The row of a segment whose video is not there."""
    video = Video(segment.video, Path(), "", (segment,))
    problem = f"{InvalidClip.__name__}: there is no file of video {segment.video}; fetch it, then run again"
    return replace(_blank_row(video, segment, number), detail=problem)


@dataclass(frozen=True)
class _Decided:
    stretch: Stretch
    measured: Measured
    parts: tuple[Part, ...]


def _carried(video: Video, segment: StepSegment, tools: Tools, thresholds: Thresholds, side: int) -> Iterator[_Decided]:
    """Decided stretches; good frames at a stretch's end that are too few for a subclip go over into the next one."""
    carry: Stretch | None = None
    for read in read_stretches(video.path, segment.start, segment.stop, fps=thresholds.fps, side=side):
        stretch = carry.followed_by(read) if carry is not None else read
        measured = measure(stretch, tools, thresholds)
        parts, carry = measured.parts, None
        if not stretch.last and parts[-1].reasons == ("too_short",):
            carry, parts = stretch.tail(parts[-1].start), parts[:-1]
        yield _Decided(stretch, measured, parts)


def _write(decided: _Decided, blank: Row, video: Video, out: Path, thresholds: Thresholds) -> list[Row]:
    rows = []
    stretch, figures = decided.stretch, decided.measured.figures
    for part in decided.parts:
        frames = stretch.frames[part.start : part.stop]
        start = float(stretch.times[part.start])
        row = replace(
            blank,
            start=start,
            stop=float(stretch.times[part.stop - 1]) + 1 / thresholds.fps,
            frames=len(frames),
            fps=thresholds.fps,
            status=REJECTED if part.reasons else KEPT,
            reasons=part.reasons,
            picture=strip(stretch.frames[_shown(part, len(stretch.frames))]),
            **{name: _summary(name, values[part.start : part.stop]) for name, values in figures.items()},
        )
        if not part.reasons:
            clip = f"clips/{video.slug}/{blank.segment:04d}-{round(1000 * start):09d}.npz"
            hands = decided.measured.tracks[part.start]
            subclip = Subclip(
                row.video, row.source, row.task, row.description, start, thresholds.fps, frames, hands,
                pseudo_region(frames, hands),
            )  # fmt: skip
            save_subclip(subclip, out / clip)
            row = replace(row, clip=clip, hashes=frame_hashes(frames).tobytes())
        rows.append(row)
    return rows


def _shown(part: Part, length: int) -> slice:
    """What to show of a part; of one that is shorter than the strip, what is around it too: a cut is seen beside it."""
    start = max(0, min(part.start, (part.start + part.stop - _STRIP) // 2))
    return slice(start, min(length, max(part.stop, start + _STRIP)))


def strip(frames: NDArray[np.uint8]) -> bytes:
    """Some of the frames side by side as WebP."""
    from PIL import Image

    places = np.linspace(0, len(frames) - 1, _STRIP).round().astype(int)
    small = np.concatenate([narrowed(frames[at], _STRIP_WIDTH) for at in places], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "WEBP", quality=70, method=2)
    return buffer.getvalue()


def _blank_row(video: Video, segment: StepSegment, number: int) -> Row:
    stop = segment.stop if segment.stop != WHOLE else float("nan")
    return Row(
        video=video.name, path=video.relative, source=segment.source, task=segment.task,
        description=segment.description, segment=number, segment_start=segment.start, segment_stop=stop,
        start=segment.start, stop=stop, frames=0, fps=0.0, height=0, width=0, status=FAILED,
    )  # fmt: skip


def _unfit(facts: VideoFacts, thresholds: Thresholds) -> tuple[str, ...]:
    unfit = {
        "low_resolution": min(facts.height, facts.width) < thresholds.least_side,
        "low_frame_rate": facts.fps < 0.95 * thresholds.fps,
    }
    return tuple(reason for reason, true in unfit.items() if true)


def _end(segment: StepSegment, facts: VideoFacts) -> float:
    return min(segment.stop, facts.duration) if np.isfinite(facts.duration) else segment.stop


def _summary(name: str, values: NDArray[np.float32]) -> float:
    if np.isnan(values).all():
        return float("nan")
    how = {"cut": np.nanmax, "text": np.nanmax, "hand": np.nanmean}.get(name, np.nanmedian)
    return float(how(values))
