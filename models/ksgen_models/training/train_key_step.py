"""Training of the KIG: image generator and Skill Transformer together, on all key-step images of a plan at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ksgen_models.mini.key_step_model import IMAGE, KeyStepModel
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.sampling import SHIFT, noise_levels
from ksgen_models.training.cache import Cache
from ksgen_models.training.fit import Losses

NO_TEXT = 0.1


@dataclass(frozen=True)
class KeyStepBatch:
    """Attributes: target (B, S, C, s, s); real (B, S), 0 past the end of a plan; the rest as the model's."""

    target: Tensor
    real: Tensor
    frame: Tensor
    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True)
class KeyStepBatches:
    """Draws batches of whole plans from a cache; shorter plans are filled up with textless steps that change nothing.

    Attributes:
        cache: the episodes.
        tokens, mask: (V, L, D) float16 and (V, L) bool, MiniLM token states of ``cache.texts``.
    """

    cache: Cache
    tokens: Tensor
    mask: Tensor

    def __call__(self, random: np.random.Generator, number: int) -> KeyStepBatch:
        """``number`` plans; some are cut short, so that every plan length is met."""
        chosen = [self._part(int(random.integers(len(self.cache.scene))), random) for _ in range(number)]
        longest = max(end - start for start, end, _ in chosen)
        target, real, tokens, mask, frames = [], [], [], [], []
        for start, end, picture in chosen:
            steps = end - start
            indices = np.minimum(np.arange(1, longest + 1), steps)
            target.append(self.cache.key_latents[picture + indices])
            real.append(np.arange(longest) < steps)
            text = torch.from_numpy(self.cache.step_text[start + indices - 1])
            tokens.append(self.tokens[text])
            mask.append(self.mask[text] & torch.from_numpy(real[-1])[:, None])
            frames.append(self.cache.pictures[picture])
        with_text = torch.from_numpy(random.random(number) >= NO_TEXT)
        return KeyStepBatch(
            target=torch.from_numpy(np.stack(target)).float(),
            real=torch.from_numpy(np.stack(real)).float(),
            frame=picture_tensor(torch.from_numpy(np.stack(frames))),
            tokens=torch.stack(tokens).float(),
            mask=torch.stack(mask) & with_text[:, None, None],
        )

    def _part(self, episode: int, random: np.random.Generator) -> tuple[int, int, int]:
        """First and end key step, and the place of the frame, of an episode or of the first part of it."""
        start, end = self.cache.first_step[episode : episode + 2]
        if random.random() < 0.3:
            end = random.integers(start + 1, end + 1)
        return int(start), int(end), int(self.cache.first_picture[episode])


def key_step_losses(model: nn.Module, batch: KeyStepBatch, noise: torch.Generator) -> Losses:
    """Flow-matching loss over all steps; where the picture differs from the frame it counts more."""
    assert isinstance(model, KeyStepModel)
    target = batch.target
    level = noise_levels(len(target), SHIFT[IMAGE], noise)
    epsilon = torch.randn(target.shape, generator=noise)
    at = level[:, None, None, None, None]
    velocity = model((1 - at) * target + at * epsilon, level, model.condition(batch.frame, batch.tokens, batch.mask))
    squared = (velocity.float() - (epsilon - target)).square()
    weight = (0.1 + 0.9 * batch.real)[:, :, None, None, None]
    different = (target.abs().amax(2, keepdim=True) > 2.5).float()  # latents of what moved lie far from the mean
    return {"loss": (squared * weight * (0.5 + 2.0 * different)).mean(), "flow": squared.mean().detach()}
