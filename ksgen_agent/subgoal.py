"""`Subgoal`: one key step as a policy takes it, arrays of fixed shapes and their Gymnasium space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.scores import SCORES
from ksgen_models.types import HAND_KEYPOINTS, KeyStep

if TYPE_CHECKING:
    from gymnasium import spaces

EMBEDDING_DIMENSION = 384
CLIP_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Subgoal:
    """What is to be reached next, and how a person's hands would do it.

    Attributes:
        text: the key step's sentence (not part of the observation; its embedding is).
        embedding: (D,) float32 of unit length.
        goal: (H, W, 3) uint8, how the scene is to look when the step is done.
        keypoints: (T, 2, 21, 3) float32 as in `HandTrack.keypoints`, 0 where a hand is absent.
        keypoints_valid: (T, 2) int8, 1 where that hand is there.
        region_of_motion: (H, W) int8, 1 inside the RoM: the observed one, or where no hand was found in the clip the
            predicted one (at least 0.5).
        scores: (N,) float32 in the order and ranges of `ksgen_models.scores.SCORES`; a score that the key step lacks
            has its lowest value.
        index: 0-based place in the plan.
        total: number of key steps in the plan.
    """

    text: str
    embedding: NDArray[np.float32]
    goal: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    keypoints_valid: NDArray[np.int8]
    region_of_motion: NDArray[np.int8]
    scores: NDArray[np.float32]
    index: int
    total: int

    @classmethod
    def from_key_step(cls, step: KeyStep, *, total: int) -> Subgoal:
        """Bring a key step to the form that policies take; ``total`` is the number of key steps in the plan."""
        region = step.region_of_motion
        mask = region.observed if region.observed.any() else region.predicted >= 0.5
        valid = step.hands.valid & np.isfinite(step.hands.keypoints).all(axis=(2, 3))  # (T, 2)
        return cls(
            text=step.description,
            embedding=np.asarray(step.embedding, np.float32),
            goal=step.goal,
            keypoints=np.where(valid[..., None, None], step.hands.keypoints, 0).astype(np.float32),
            keypoints_valid=valid.astype(np.int8),
            region_of_motion=mask.astype(np.int8),
            scores=score_vector(step),
            index=step.index,
            total=total,
        )

    def as_observation(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, contained in `space` of the same sizes."""
        return {
            "embedding": self.embedding,
            "goal": self.goal,
            "keypoints": self.keypoints,
            "keypoints_valid": self.keypoints_valid,
            "region_of_motion": self.region_of_motion,
            "scores": self.scores,
            "index": np.array([self.index], np.int32),
            "total": np.array([self.total], np.int32),
        }

    @staticmethod
    def space(
        height: int, width: int, *, frames: int = CLIP_FRAMES, embedding_dimension: int = EMBEDDING_DIMENSION
    ) -> spaces.Dict:
        """The Gymnasium space of `as_observation` (needs ``gymnasium``).

        Args:
            height, width: pixels of the goal image, that is of the imagination's frame.
            frames: frames of a clip, T.
            embedding_dimension: length of the text embedding, D.
        """
        from gymnasium import spaces

        low, high = (np.array([getattr(spec, side) for spec in SCORES], np.float32) for side in ("low", "high"))
        count = np.iinfo(np.int32).max
        return spaces.Dict(
            {
                "embedding": spaces.Box(-1.001, 1.001, (embedding_dimension,), np.float32),  # unit length, rounded
                "goal": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "keypoints": spaces.Box(-np.inf, np.inf, (frames, 2, HAND_KEYPOINTS, 3), np.float32),
                "keypoints_valid": spaces.MultiBinary((frames, 2)),
                "region_of_motion": spaces.MultiBinary((height, width)),
                "scores": spaces.Box(low, high, dtype=np.float32),
                "index": spaces.Box(0, count, (1,), np.int32),
                "total": spaces.Box(1, count, (1,), np.int32),
            }
        )


def score_vector(step: KeyStep) -> NDArray[np.float32]:
    """(N,) float32, the scores of a key step in the order of `SCORES`, held to their ranges."""
    values = [np.clip(step.scores.get(spec.name, spec.low), spec.low, spec.high) for spec in SCORES]
    return np.nan_to_num(np.array(values, np.float32))
