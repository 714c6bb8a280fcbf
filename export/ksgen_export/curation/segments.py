"""What an annotation file says: which video shows which step from when to when."""

from __future__ import annotations

import math
from dataclasses import dataclass

WHOLE = math.inf
"""``stop`` of a segment that goes to the end of its video."""


@dataclass(frozen=True)
class StepSegment:
    """One annotated step.

    Attributes:
        video: the video's id in its data set; its file is called so.
        start, stop: seconds.
        description: the step's sentence, as the annotators wrote it; empty where there are no annotations.
        task: what the step belongs to; empty where the data set does not say.
        source: ``"coin"``, ``"crosstask"``, ``"htstep"``, ``"epic-kitchens"``, ``"ego4d"`` or ``"videos"``.
    """

    video: str
    start: float
    stop: float
    description: str
    task: str
    source: str


@dataclass(frozen=True)
class Problem:
    """An entry of an annotation file that cannot be used.

    Attributes:
        video: its video's id; empty where even that is not known.
        message: what is wrong with it.
    """

    video: str
    message: str


@dataclass(frozen=True)
class Annotations:
    """Everything that one data set's annotation files say.

    Attributes:
        segments: by video and time.
        problems: entries that were left out.
    """

    segments: tuple[StepSegment, ...]
    problems: tuple[Problem, ...] = ()

    @staticmethod
    def collect(found: list[StepSegment | Problem]) -> Annotations:
        """Sort segments by video and time, and take out those that have no length, no sentence or no sense."""
        segments, problems = [], []
        for entry in found:
            wrong = entry.message if isinstance(entry, Problem) else _wrong(entry)
            if wrong:
                problems.append(Problem(entry.video, wrong))
            elif isinstance(entry, StepSegment):
                segments.append(entry)
        segments.sort(key=lambda segment: (segment.video, segment.start, segment.stop, segment.description))
        return Annotations(tuple(segments), tuple(problems))


def _wrong(segment: StepSegment) -> str:
    if not segment.video:
        return f'"{segment.description}" names no video'
    if not segment.description.strip():
        return f"the segment at {segment.start:g} s has no description"
    if not (math.isfinite(segment.start) and math.isfinite(segment.stop)):
        return f'"{segment.description}" has no usable times ({segment.start:g} to {segment.stop:g} s)'
    if not 0 <= segment.start < segment.stop:
        return f'"{segment.description}" goes from {segment.start:g} to {segment.stop:g} s'
    return ""
