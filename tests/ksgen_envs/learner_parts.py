"""What the learners' tests share: episodes and an encoder that cost little."""

from __future__ import annotations

import numpy as np

from ksgen_envs.learners.condition import CONDITION_SIZE, GRASP, HAND, RELEASE, SUBGOAL
from ksgen_envs.learners.demonstrations import Episode
from ksgen_envs.learners.inputs import InputSpec


class LetterEncoder:
    """Vectors of unit length that depend on the letters."""

    dimension = 384

    def embed(self, sentences):
        counts = np.zeros((len(sentences), self.dimension), np.float32)
        for row, sentence in zip(counts, sentences, strict=True):
            for place, letter in enumerate(sentence):
                row[(31 * ord(letter) + 7 * place) % self.dimension] += 1.0
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def made_up_episode(seed: int, *, steps: int = 60, kind: str = "subgoal") -> Episode:
    """Two key steps of a tool that goes straight to where it is told to."""
    rng = np.random.default_rng(seed)
    spec = InputSpec(kind)  # type: ignore[arg-type]
    inputs = {
        name: np.zeros((steps, *shape), np.float32)
        for name, shape in spec.shapes().items()
        if name not in ("task", "names", "sentence")
    }
    inputs["robot"][:] = rng.normal(0, 0.1, (steps, 17))
    inputs["slots"][:, :2, 0] = 1.0
    inputs["slots"][:, :2, 1:7] = rng.normal(0, 0.1, (steps, 2, 6))
    half = steps // 2
    targets = rng.uniform(-0.2, 0.2, (2, 2)).repeat([half, steps - half], axis=0).astype(np.float32)
    if kind == "subgoal":
        condition = inputs["condition"]
        condition[:, [SUBGOAL, HAND]] = 1.0
        for ray in (GRASP, RELEASE):
            condition[:, ray] = np.tile(targets, 2)
    else:
        inputs["condition"][:half, 0] = inputs["condition"][half:, 1] = 1.0
        inputs["condition"][:, 11:13] = targets
    assert inputs["condition"].shape[1] == CONDITION_SIZE[spec.kind]
    actions = np.zeros((steps, 5), np.float32)
    actions[:, :2] = np.clip((targets - inputs["robot"][:, :2]) / 0.2, -1, 1)
    words = rng.normal(0, 0.05, (9, 384)).astype(np.float32)
    row = np.zeros(steps, np.int64)
    row[half:] = 1
    return Episode(inputs, actions, row, words[:2], words[2], words[3:9], success=True)
