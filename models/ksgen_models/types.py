"""The data that every part of KSGen-Agent passes around: frozen dataclasses over numpy arrays.

Axes: T time, H height, W width, S steps. Images are RGB ``uint8`` (H, W, 3). Image coordinates are normalised to
[0, 1], x right, y down. Lengths are metres, times are seconds. Hands have MediaPipe's 21 landmarks in MediaPipe's
order; hand slot 0 is the left hand and slot 1 the right hand, as the person whose hands they are sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEFT, RIGHT = 0, 1
HAND_KEYPOINTS = 21

# Pairs of landmark indices that MediaPipe joins with a bone.
HAND_BONES: tuple[tuple[int, int], ...] = (
    (0, 1), (1, 2), (2, 3), (3, 4),
    (0, 5), (5, 6), (6, 7), (7, 8),
    (5, 9), (9, 10), (10, 11), (11, 12),
    (9, 13), (13, 14), (14, 15), (15, 16),
    (13, 17), (0, 17), (17, 18), (18, 19), (19, 20),
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """A procedure that the planner retrieved.

    Attributes:
        task: the task of the retrieved procedure.
        steps: its steps, as the library has them.
        similarity: cosine similarity to the asked task, in [-1, 1].
        source: where the procedure comes from, e.g. ``"ksgen"`` or ``"coin"``.
    """

    task: str
    steps: tuple[str, ...]
    similarity: float
    source: str


@dataclass(frozen=True)
class Plan:
    """The key steps of a task, in order.

    Attributes:
        task: the task as asked.
        steps: one sentence a key step that is left to do.
        confidence: in [0, 1].
        source: which planner wrote it.
        evidence: the retrieved procedures it rests on, best first.
        done: further steps of the procedure, which the frame shows as done already.
    """

    task: str
    steps: tuple[str, ...]
    confidence: float
    source: str
    evidence: tuple[Evidence, ...] = ()
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class HandTrack:
    """Both hands through a clip.

    Attributes:
        keypoints: (T, 2, 21, 3) float32; x and y normalised, z in units of the image width relative to the wrist
            (MediaPipe's convention); NaN where the hand is absent.
        world: (T, 2, 21, 3) float32 metres, relative to the hand's centre; NaN where absent.
        confidence: (T, 2) float32 in [0, 1]; 0 where absent.
        valid: (T, 2) bool, the hand is there, measured or interpolated.
        interpolated: (T, 2) bool, filled in between two measured frames.
    """

    keypoints: NDArray[np.float32]
    world: NDArray[np.float32]
    confidence: NDArray[np.float32]
    valid: NDArray[np.bool_]
    interpolated: NDArray[np.bool_]


@dataclass(frozen=True)
class RegionOfMotion:
    """Where things move in a clip.

    Attributes:
        predicted: (H, W) float32 in [0, 1], where the hands will be, said before the clip exists (IVG stage 1).
        observed: (H, W) bool, convex hulls of each frame's hand keypoints, united over time (IVG §3.1.1).
        per_frame: (T, H, W) bool, the hulls of the single frames.
        change: (H, W) float32 in [0, 1], the predicted region of change: hand, forearm, moved objects and their
            shadows. Wider than the region of motion; what lies outside may be held to the input frame.
    """

    predicted: NDArray[np.float32]
    observed: NDArray[np.bool_]
    per_frame: NDArray[np.bool_]
    change: NDArray[np.float32]


@dataclass(frozen=True)
class KeyStep:
    """One imagined key step.

    Attributes:
        index: 0-based place in the plan.
        description: the step's sentence.
        image: (H, W, 3) uint8, the key-step image: how the scene looks when the step begins.
        goal: (H, W, 3) uint8, how the scene is to look when the step is done.
        clip: (T, H, W, 3) uint8; frame 0 is the key-step image.
        fps: frames a second of ``clip``.
        hands: the hand track of ``clip``.
        region_of_motion: predicted and observed.
        scores: named figures that say how far to trust this step.
        provenance: preset, model ids and hashes, seed, prompts, package versions.
        embedding: (D,) float32 of unit length, the sentence's vector; empty where no encoder was at hand.
    """

    index: int
    description: str
    image: NDArray[np.uint8]
    goal: NDArray[np.uint8]
    clip: NDArray[np.uint8]
    fps: float
    hands: HandTrack
    region_of_motion: RegionOfMotion
    scores: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    embedding: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
