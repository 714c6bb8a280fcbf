"""What a preset is made of: the parts that `ksgen_agent.Agent` puts together, as protocols.

The embedded ``mini`` models and the hub backends satisfy the same protocols, so the agent has one code path.
Every image is RGB uint8 (H, W, 3) of the size of the camera frame that started the imagination; a part that works
at another size converts inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ksgen_models.progress import StepVerdict
from ksgen_models.types import HandTrack, Plan

CheckCancelled = Callable[[], None]
"""Called between solver steps; raises `Cancelled` when the caller asked to stop."""


def never_cancelled() -> None:
    """The `CheckCancelled` of callers that never stop early."""


@dataclass(frozen=True)
class StepRequest:
    """One key step to be imagined.

    Attributes:
        index: 0-based place in the plan.
        description: the step's sentence.
        image: (H, W, 3) uint8, the key-step image.
        goal: (H, W, 3) uint8, the key-step image of the step after it, or the picture after the last step.
        seed: seed of the whole imagination; a part derives its own noise from `noise_key`, and what must stay the
            same through all steps (the person's looks) from the seed alone.
        candidate: which of several clips of this step; the first is the one that is drawn when only one is asked for.
    """

    index: int
    description: str
    image: NDArray[np.uint8]
    goal: NDArray[np.uint8]
    seed: int
    candidate: int = 0

    @property
    def noise_key(self) -> tuple[int, ...]:
        """What a part derives this clip's noise from."""
        return (self.seed, self.index, self.candidate) if self.candidate else (self.seed, self.index)


@dataclass(frozen=True)
class RegionPrediction:
    """Where things will move.

    Attributes:
        motion: (H, W) float32 in [0, 1], the predicted region of motion: the hands.
        change: (H, W) float32 in [0, 1], the predicted region of change: hands, forearms, moved objects, shadows.
        frames: (T, 2, h, w) float32 in [0, 1], motion and change frame by frame, in the model's own square picture, for
            a video generator of the same preset; None where only the union over time is known.
        track: (T, 2, 21, 2) float32, the hand track to be expected, normalised to that picture, NaN where a hand is
            absent; None where nothing is expected.
    """

    motion: NDArray[np.float32]
    change: NDArray[np.float32]
    frames: NDArray[np.float32] | None = None
    track: NDArray[np.float32] | None = None


class Planner(Protocol):
    """Writes the key steps of a task.

    One with an attribute ``as_told`` that is true has the last word: nothing is left out as done already.
    """

    def plan(self, frame: NDArray[np.uint8], task: str) -> Plan:
        """Raises `UnknownTask` when no procedure fits."""
        ...


class KeyStepImageGenerator(Protocol):
    """The KIG: draws all key-step images of a plan together."""

    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """Return (S + 1, H, W, 3) uint8: image 0 is ``frame``, image k the scene after k steps."""
        ...


class RegionModel(Protocol):
    """Says where things will move, before the clip exists (IVG stage 1)."""

    def predict(self, request: StepRequest, *, check_cancelled: CheckCancelled = never_cancelled) -> RegionPrediction:
        """Predict the regions of one step."""
        ...


class VideoGenerator(Protocol):
    """Draws the clip of a step (IVG stage 2)."""

    @property
    def fps(self) -> float:
        """Frames a second of the clips."""
        ...

    def generate(
        self,
        request: StepRequest,
        region: RegionPrediction,
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """Return (T, H, W, 3) uint8; frame 0 is ``request.image``."""
        ...


class ManyRegions(RegionModel, Protocol):
    """A region model that does the steps of several imaginations in one call."""

    def predict_many(
        self, requests: Sequence[StepRequest], *, check_cancelled: CheckCancelled = never_cancelled
    ) -> Sequence[RegionPrediction]:
        """What `predict` gives for each."""
        ...


class ManyClips(VideoGenerator, Protocol):
    """A video generator that draws the clips of several imaginations in one call."""

    def generate_many(
        self,
        steps: Sequence[tuple[StepRequest, RegionPrediction]],
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> Sequence[NDArray[np.uint8]]:
        """What `VideoGenerator.generate` gives for each."""
        ...


class Tracker(Protocol):
    """Finds the hands in a clip."""

    def track(self, clip: NDArray[np.uint8], fps: float) -> HandTrack:
        """Track both hands through (T, H, W, 3) uint8."""
        ...

    def close(self) -> None:
        """Free the networks."""
        ...


class DomainCheck(Protocol):
    """Knows which frames the preset's models can be trusted with."""

    @property
    def threshold(self) -> float:
        """The least score that is accepted."""
        ...

    def score(self, frame: NDArray[np.uint8]) -> float:
        """Confidence in [0, 1] that the frame is of a kind the models know."""
        ...


class StepVerifier(Protocol):
    """Sees how far the work has come."""

    def verify(self, frame: NDArray[np.uint8], steps: tuple[str, ...]) -> tuple[StepVerdict, ...]:
        """Say of each step of one procedure whether a frame (H, W, 3) uint8 shows it as done.

        The steps of a procedure are asked together, in its order: whether the drawer was opened can be told from what
        lies in it.
        Safe to call from several threads.
        """
        ...


class SentenceEncoder(Protocol):
    """Turns sentences into vectors."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, sentences: tuple[str, ...]) -> NDArray[np.float32]:
        """Return (N, D) float32, rows of unit length."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything a preset needs, loaded and ready.

    Attributes:
        planner, image_generator, region_model, video_generator, tracker, sentence_encoder: the parts.
        domain_check: None where the models know no bounds of their own.
        provenance: model ids, hashes and versions, for the record of every key step.
        batch: key steps of different imaginations that one call of a model takes; above 1 the region model is a
            `ManyRegions` and the video generator a `ManyClips`.
        verifier: None where nothing sees progress; whole procedures are then imagined.
        doubt: of a key step whose best clip is trusted less (`ksgen_models.scores.trust`) one more is drawn, and then
            perhaps another; 0 for never.
    """

    planner: Planner
    image_generator: KeyStepImageGenerator
    region_model: RegionModel
    video_generator: VideoGenerator
    tracker: Tracker
    sentence_encoder: SentenceEncoder
    domain_check: DomainCheck | None
    provenance: Mapping[str, Any]
    batch: int = 1
    verifier: StepVerifier | None = None
    doubt: float = 0.0
