"""What a frame shows, for the planner, and whether the mini models can be trusted with it, for the agent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.mini.geometry import halve
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.networks import Networks
from ksgen_models.planner.perception import SceneReading


@dataclass(frozen=True)
class MiniSceneReader:
    """Reads a frame with the reader network; satisfies `SceneReader` and `ksgen_models.interfaces.DomainCheck`.

    Attributes:
        networks: the models.
        threshold: least score at which a frame counts as a Workbench scene.
    """

    networks: Networks
    threshold: float = 0.5

    def read(self, frame: NDArray[np.uint8]) -> SceneReading:
        """Name the scene and the objects of a frame (H, W, 3) uint8."""
        scene, objects, _, _ = self._run(frame)
        meta = self.networks.meta
        return SceneReading(
            scene=dict(zip(map(_scene_name, meta.scenes), torch.softmax(scene, -1).tolist(), strict=True)),
            objects=dict(zip(meta.objects, torch.sigmoid(objects).tolist(), strict=True)),
        )

    def score(self, frame: NDArray[np.uint8]) -> float:
        """Confidence in [0, 1] that a frame is a Workbench scene: the classifier's, less where features are strange."""
        _, _, workbench, features = self._run(frame)
        reader = self.networks.reader
        strange = max(0.0, float(reader.distance(features[None])[0] / reader.familiar_distance) - 1.0)
        return float(torch.sigmoid(workbench)) * math.exp(-2.0 * strange)

    @torch.inference_mode()
    def _run(self, frame: NDArray[np.uint8]) -> tuple[torch.Tensor, ...]:
        square = self.networks.square(frame).to_square(frame)
        outputs = self.networks.reader(picture_tensor(torch.from_numpy(halve(square)))[None])
        return tuple(output[0] for output in outputs)


def _scene_name(env_id: str) -> str:
    """``"KSGen/StackBlocks-v0"`` → ``"StackBlocks"``, the planner's name of the scene."""
    return env_id.split("/")[-1].rsplit("-", 1)[0]
