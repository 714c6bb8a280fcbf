"""Tells what a preset's models are doing: each part wrapped so that it reports before and after it works.

The wrapped parts satisfy the same protocols and return the same arrays, so an agent made of them imagines the same
bits as one made of the parts themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ksgen_models.interfaces import (
    CheckCancelled,
    KeyStepImageGenerator,
    Parts,
    Planner,
    RegionModel,
    RegionPrediction,
    StepRequest,
    Tracker,
    VideoGenerator,
    never_cancelled,
)
from ksgen_models.types import HandTrack, Plan


class Listener(Protocol):
    """Hears what happens; the hand tracks come from another thread than the rest."""

    def planned(self, plan: Plan) -> None:
        """The plan is written, whatever of it has been done already."""
        ...

    def left(self, steps: tuple[str, ...]) -> None:
        """These key steps of it are to be imagined."""
        ...

    def further(self) -> None:
        """One more clip of a key step is to be drawn."""
        ...

    def begun(self, what: str) -> None:
        """The models begin with something, e.g. ``"step 2: clip"``."""
        ...

    def done(self) -> None:
        """One piece of `work_of` is done."""
        ...


def work_of(clips: int) -> int:
    """How many times `Listener.done` is called in an imagination of so many clips, plan and key-step images included.

    There is one clip of every key step, and those that `Listener.further` tells of.
    """
    return 2 + 3 * clips


def watch_parts(parts: Parts, listener: Listener) -> Parts:
    """The same parts, telling ``listener`` what they do; it is told of one imagination at a time."""
    return replace(
        parts,
        batch=1,
        planner=_Planner(parts.planner, listener),
        image_generator=_ImageGenerator(parts.image_generator, listener),
        region_model=_RegionModel(parts.region_model, listener),
        video_generator=_VideoGenerator(parts.video_generator, listener),
        tracker=_Tracker(parts.tracker, listener.done),
    )


@dataclass(frozen=True)
class _Planner:
    part: Planner
    listener: Listener

    @property
    def as_told(self) -> bool:
        return getattr(self.part, "as_told", False)

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        self.listener.begun("planning")
        plan = self.part.plan(frame, task)
        self.listener.planned(plan)
        self.listener.done()
        return plan


@dataclass(frozen=True)
class _ImageGenerator:
    part: KeyStepImageGenerator
    listener: Listener

    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        self.listener.left(steps)
        self.listener.begun("key-step images")
        images = self.part.draw(frame, steps, seed=seed, check_cancelled=check_cancelled)
        self.listener.done()
        return images


@dataclass(frozen=True)
class _RegionModel:
    part: RegionModel
    listener: Listener

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        if request.candidate:
            self.listener.further()
        self.listener.begun(f"{_which(request)}: region of motion")
        region = self.part.predict(request, check_cancelled=check_cancelled)
        self.listener.done()
        return region


@dataclass(frozen=True)
class _VideoGenerator:
    part: VideoGenerator
    listener: Listener

    @property
    def fps(self) -> float:
        return self.part.fps

    def generate(
        self, request: StepRequest, region: RegionPrediction, *, check_cancelled: CheckCancelled = never_cancelled
    ) -> NDArray[np.uint8]:
        self.listener.begun(f"{_which(request)}: clip")
        clip = self.part.generate(request, region, check_cancelled=check_cancelled)
        self.listener.done()
        return clip


@dataclass(frozen=True)
class _Tracker:
    part: Tracker
    done: Callable[[], None]

    def track(self, clip: NDArray[np.uint8], fps: float) -> HandTrack:
        hands = self.part.track(clip, fps)
        self.done()
        return hands

    def close(self) -> None:
        self.part.close()


def _which(request: StepRequest) -> str:
    again = f", clip {request.candidate + 1} of it" if request.candidate else ""
    return f"step {request.index + 1}{again}"
