"""Training of the scene reader, with made-up pictures that are no Workbench scenes as the other class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.training.cache import Cache
from ksgen_models.training.fit import Losses
from ksgen_models.training.foreign import foreign_picture

FOREIGN_SHARE = 0.3


@dataclass(frozen=True)
class ReaderBatch:
    """Attributes: picture (B, 3, h, w) in [-1, 1]; scene (B,); objects (B, O) in {0, 1}; workbench (B,) in {0, 1}."""

    picture: Tensor
    scene: Tensor
    objects: Tensor
    workbench: Tensor


@dataclass(frozen=True)
class ReaderBatches:
    """Draws pictures of scenes and foreign pictures.

    Attributes:
        cache: the episodes.
    """

    cache: Cache

    def __call__(self, random: np.random.Generator, number: int) -> ReaderBatch:
        """``number`` pictures, about a third of them foreign."""
        episodes = random.choice(np.flatnonzero(~held_out(len(self.cache.scene))), number)
        real = random.random(number) >= FOREIGN_SHARE
        pictures = []
        for episode, is_real in zip(episodes, real, strict=True):
            first, end = self.cache.first_picture[episode : episode + 2]
            own = self.cache.pictures[random.integers(first, end)]  # also scenes in which part of the work is done
            pictures.append(_jitter(own, random) if is_real else foreign_picture(own, random))
        return ReaderBatch(
            picture=picture_tensor(torch.from_numpy(np.stack(pictures))),
            scene=torch.from_numpy(self.cache.scene[episodes]),
            objects=torch.from_numpy(self.cache.objects[episodes]).float(),
            workbench=torch.from_numpy(real).float(),
        )


def held_out(number: int) -> NDArray[np.bool_]:
    """Which of ``number`` episodes the reader is not trained on: one in ten, to see how far unseen scenes lie."""
    return np.arange(number) % 10 == 0


def reader_losses(model: nn.Module, batch: ReaderBatch, noise: torch.Generator) -> Losses:
    """Scene and object names on Workbench frames; Workbench or not on all."""
    assert isinstance(model, ReaderNetwork)
    scene, objects, workbench, _ = model(batch.picture)
    real = batch.workbench > 0.5
    scene_loss = F.cross_entropy(scene[real].float(), batch.scene[real])
    objects_loss = F.binary_cross_entropy_with_logits(objects[real].float(), batch.objects[real]) * 10
    workbench_loss = F.binary_cross_entropy_with_logits(workbench.float(), batch.workbench)
    return {
        "loss": scene_loss + objects_loss + workbench_loss,
        "scene": scene_loss.detach(),
        "objects": objects_loss.detach(),
        "workbench": workbench_loss.detach(),
    }


def _jitter(picture: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    shift = random.integers(-4, 5, 2)
    bright = random.uniform(0.9, 1.1)
    noisy = np.roll(picture, shift, (0, 1)) * bright + random.normal(0, random.uniform(0, 4), picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)
