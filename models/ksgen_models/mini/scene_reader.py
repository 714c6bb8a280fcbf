"""What a frame shows, for the planner, and whether the mini models can be trusted with it, for the agent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.networks import Networks
from ksgen_models.mini.step_verifier import MiniStepVerifier
from ksgen_models.planner.adapt import SEEN
from ksgen_models.planner.perception import SceneReading

_STACK = "StackBlocks"


@dataclass(frozen=True)
class MiniSceneReader:
    """Reads a frame with the reader network; satisfies `SceneReader` and `ksgen_models.interfaces.DomainCheck`.

    The reader network sees the whole at once and says what there is; of a scene of blocks the progress network is then
    asked which stands on which, and which is the smaller.

    Attributes:
        networks: the models.
        threshold: least score at which a frame counts as a Workbench scene.
    """

    networks: Networks
    threshold: float = 0.5

    def read(self, frame: NDArray[np.uint8]) -> SceneReading:
        """Name the scene and the objects of a frame (H, W, 3) uint8."""
        scene_logits, object_logits, _, _ = self._run(frame)
        meta = self.networks.meta
        scene = dict(zip(map(_scene_name, meta.scenes), torch.softmax(scene_logits, -1).tolist(), strict=True))
        objects = dict(zip(meta.objects, torch.sigmoid(object_logits).tolist(), strict=True))
        if scene.get(_STACK, 0.0) < 0.5:
            return SceneReading(scene, objects)
        blocks = [name for name, p in objects.items() if p >= SEEN and name.endswith(" block")]
        return SceneReading(scene, objects, *_compared(MiniStepVerifier(self.networks), frame, blocks))

    def score(self, frame: NDArray[np.uint8]) -> float:
        """Confidence in [0, 1] that a frame is a Workbench scene: the classifier's, less where features are strange."""
        _, _, workbench, features = self._run(frame)
        reader = self.networks.reader
        strange = max(0.0, float(reader.distance(features[None])[0] / reader.familiar_distance) - 1.0)
        return float(torch.sigmoid(workbench)) * math.exp(-2.0 * strange)

    @torch.inference_mode()
    def _run(self, frame: NDArray[np.uint8]) -> tuple[torch.Tensor, ...]:
        square = self.networks.square(frame).to_square(frame)
        outputs = self.networks.reader(picture_tensor(torch.from_numpy(square))[None])
        return tuple(output[0] for output in outputs)


def _scene_name(env_id: str) -> str:
    """``"KSGen/StackBlocks-v0"`` → ``"StackBlocks"``, the planner's name of the scene."""
    return env_id.split("/")[-1].rsplit("-", 1)[0]


def _compared(
    verifier: MiniStepVerifier, frame: NDArray[np.uint8], blocks: Iterable[str]
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """Relative sizes of blocks, and how likely each stands on each other."""
    pairs = list(itertools.permutations(blocks, 2))
    said = verifier.ask(frame, [f"Put the {above} on the {below}" for above, below in pairs], together=False)
    sizes = dict.fromkeys(blocks, 0.0)
    for (above, below), smaller in zip(pairs, said.smaller.tolist(), strict=True):
        sizes[below] += smaller
        sizes[above] += 1.0 - smaller
    return sizes, dict(zip(pairs, said.done.tolist(), strict=True))
