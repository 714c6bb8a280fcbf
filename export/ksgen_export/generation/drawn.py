"""An imaginer for benches and examples that draws in milliseconds: a square is pushed over the frame by a dot.

No model is behind it. It answers as any `ksgen_agent.Imaginer` does, everything follows from frame, task and seed, and
its scores are those of what it draws, so that a job's mechanics can be measured without the cost of imagining.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent import Imagination, ImaginerSpec, StreamEnd
from ksgen_agent.draft import check_trust, most_trusted
from ksgen_models.rom import observed_region
from ksgen_models.scores import ALWAYS_SCORED, score_step
from ksgen_models.types import HandTrack, KeyStep, Plan, RegionOfMotion

_FPS, _DIMENSION = 8.0, 8


class DrawnImaginer:
    """Draws a plan of some key steps, each a few frames.

    Args:
        steps: key steps of every plan.
        frames: of every clip, 2 or more.
    """

    def __init__(self, steps: int = 2, frames: int = 4) -> None:
        self._steps, self._frames = steps, frames

    @property
    def spec(self) -> ImaginerSpec:
        """What this imaginer is."""
        return ImaginerSpec(
            preset="drawn",
            description="a square pushed by a dot, without a model",
            fps=_FPS,
            embedding_dimension=_DIMENSION,
            score_names=ALWAYS_SCORED,
            working_side=1280,
            provenance={"models": {"drawn": "1"}},
        )

    def imagine(
        self,
        frame: NDArray[np.uint8],
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        candidates: int = 1,
        least_trust: float = 0.0,
    ) -> Imagination:
        """Draw the whole task on a (H, W, 3) uint8 frame; candidates are chosen from as `Agent.imagine` does."""
        words = int.from_bytes(hashlib.sha256(task.encode()).digest()[:8])
        steps, image = [], frame
        for index in range(self._steps):
            drawn = []
            for candidate in range(candidates):
                random = np.random.default_rng([words, seed, int(frame.sum()), index, candidate])
                told = {"preset": "drawn", "models": {"drawn": "1"}, "seed": seed, "candidate": candidate}
                drawn.append(self._draw(random, image, index, {**told, "prompt": task}))
            step = most_trusted(drawn)
            check_trust(step, candidates, least_trust)
            steps.append(step)
            image = step.goal
        plan = Plan(task, tuple(step.description for step in steps), 1.0, "drawn")
        return Imagination(task, frame, plan, tuple(steps), {})

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """The key steps of `imagine`, all at once."""
        whole = self.imagine(frame, task, seed=seed)
        yield from whole.steps
        return StreamEnd(whole.plan, whole.timings)

    def _draw(self, random: np.random.Generator, image: NDArray[np.uint8], index: int, told: dict[str, Any]) -> KeyStep:
        height, width = image.shape[:2]
        side = max(min(height, width) // 6, 4)
        start, way = random.integers(0, (height - side, width - 2 * side)), int(random.integers(1, side + 1))
        colour, there = random.integers(0, 256, 3), random.random(self._frames) < 0.8
        clip = np.repeat(image[None], self._frames, axis=0)
        keypoints = np.full((self._frames, 2, 21, 3), np.nan, np.float32)
        for time in range(1, self._frames):
            left = int(start[1]) + way * time // (self._frames - 1)
            clip[time, start[0] : start[0] + side, left : left + side] = colour
            if there[time]:
                spread = random.uniform(0, side, (21, 2)) + np.array([left, start[0]])
                keypoints[time, 1, :, :2] = spread / (width, height)
                keypoints[time, 1, :, 2] = 0
        valid = np.asarray(np.isfinite(keypoints).all(axis=(2, 3)))
        hands = HandTrack(keypoints, keypoints * 0.2, np.asarray(valid, np.float32), valid, np.zeros_like(valid))
        per_frame, observed = observed_region(hands, height, width)
        region = RegionOfMotion(observed.astype(np.float32), observed, per_frame, observed.astype(np.float32))
        return KeyStep(
            index=index,
            description=f"Push square {index + 1}",
            image=image,
            goal=clip[-1],
            clip=clip,
            fps=_FPS,
            hands=hands,
            region_of_motion=region,
            scores=score_step(image, clip[-1], clip, hands, region),
            provenance=told,
            embedding=np.full(_DIMENSION, _DIMENSION**-0.5, np.float32),
        )
