"""Training of the KIG: image generator and Skill Transformer together, on all key-step images of a plan at once.

Two losses: flow matching on the images' latents, and the cross-entropy of the regions that the Skill Transformer says
each step changes, with their overlap as in IVG Eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.autoencoder import FACTOR
from ksgen_models.mini.key_step_model import CHANGE_SCALE, IMAGE, KeyStepModel
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.sampling import SHIFT, noise_levels
from ksgen_models.mini.skill_transformer import Skills
from ksgen_models.region_overlap import soft_iou
from ksgen_models.training.cache import Cache
from ksgen_models.training.fit import Losses

NO_TEXT = 0.1
MIDWAY = 0.4
"""Share of the plans that begin with a picture in which steps have been done: a robot imagines what is left."""
CHANGED = 14 / 127.5
"""A pixel changed when a channel differs by more than this, in [-1, 1]."""
POINTING = 0.15
"""Weight of the loss on the regions of change."""
SINGLE = 2
"""Single steps to point at for each whole plan: they cost little, and how hands move has more to teach."""


@dataclass(frozen=True)
class Steps:
    """Single steps, each from the picture before it, for the Skill Transformer alone.

    Attributes:
        frame: (N, 3, 8h, 8w).
        tokens, mask: (N, 1, L, D), (N, 1, L) bool.
        change, motion: (N, 1, 2h, 2w), the share of each cell that the step changes, and that hands are in meanwhile.
    """

    frame: Tensor
    tokens: Tensor
    mask: Tensor
    change: Tensor
    motion: Tensor


@dataclass(frozen=True)
class KeyStepBatch:
    """Attributes: target (B, S, C, s, s); change (B, S, 2s, 2s), the share of each cell that the step changes; real
    (B, S), 0 past the end of a plan; told (B,) bool, whether there is text; steps, others, or None; the rest as the
    model's.
    """

    target: Tensor
    change: Tensor
    told: Tensor
    real: Tensor
    frame: Tensor
    tokens: Tensor
    mask: Tensor
    steps: Steps | None


@dataclass(frozen=True)
class KeyStepBatches:
    """Draws batches of whole plans from a cache; shorter plans are filled up with textless steps that change nothing.

    Attributes:
        cache: the episodes.
        tokens, mask: (V, L, D) float16 and (V, L) bool, MiniLM token states of ``cache.texts``.
        single: single steps for each plan; 0 where nothing learns to point.
    """

    cache: Cache
    tokens: Tensor
    mask: Tensor
    single: int = SINGLE

    def __call__(self, random: np.random.Generator, number: int) -> KeyStepBatch:
        """``number`` plans; some begin midway or are cut short, so that every length is met from every state."""
        chosen = [self._part(int(random.integers(len(self.cache.scene))), random) for _ in range(number)]
        longest = max(end - start for start, end, _ in chosen)
        target, change, real, tokens, mask, frames = [], [], [], [], [], []
        for start, end, picture in chosen:
            steps = end - start
            indices = np.minimum(np.arange(1, longest + 1), steps)
            target.append(self.cache.key_latents[self.cache.plan_latents[picture] + indices])
            change.append(changed(self.cache.pictures[picture : picture + steps + 1], longest))
            real.append(np.arange(longest) < steps)
            text = torch.from_numpy(self.cache.step_text[start + indices - 1])
            tokens.append(self.tokens[text])
            mask.append(self.mask[text] & torch.from_numpy(real[-1])[:, None])
            frames.append(self.cache.pictures[picture])
        with_text = torch.from_numpy(random.random(number) >= NO_TEXT)
        return KeyStepBatch(
            target=torch.from_numpy(np.stack(target)).float(),
            change=torch.stack(change),
            told=with_text,
            real=torch.from_numpy(np.stack(real)).float(),
            frame=picture_tensor(torch.from_numpy(np.stack(frames))),
            tokens=torch.stack(tokens).float(),
            mask=torch.stack(mask) & with_text[:, None, None],
            steps=self._steps(random, self.single * number) if self.single else None,
        )

    def _steps(self, random: np.random.Generator, number: int) -> Steps:
        """Steps of which the region of motion is known in some way of doing them."""
        cache = self.cache
        ways = random.integers(len(cache.ways), size=number)
        pictures = cache.way_picture[ways]
        text = torch.from_numpy(cache.way_text[ways])
        return Steps(
            frame=picture_tensor(torch.from_numpy(cache.pictures[pictures])),
            tokens=self.tokens[text][:, None].float(),
            mask=self.mask[text][:, None],
            change=torch.stack([changed(cache.pictures[picture : picture + 2], 1) for picture in pictures]),
            motion=torch.from_numpy(cache.ways[ways]).float()[:, None] / 255,
        )

    def _part(self, episode: int, random: np.random.Generator) -> tuple[int, int, int]:
        """First and end key step, and the place of the frame, of an episode or of a part of it."""
        start, end = self.cache.first_step[episode : episode + 2]
        done = int(random.integers(end - start)) if random.random() < MIDWAY else 0
        start += done
        if random.random() < 0.3:
            end = random.integers(start + 1, end + 1)
        return int(start), int(end), int(self.cache.first_picture[episode]) + done


def changed(pictures: NDArray[np.uint8], length: int) -> Tensor:
    """Where each of S steps changes the (S + 1, 8h, 8w, 3) pictures: (length, 2h, 2w) in [0, 1], 0 past the last."""
    tensor = picture_tensor(torch.from_numpy(pictures))
    different = ((tensor[1:] - tensor[:-1]).abs().amax(1) > CHANGED).float()
    cells = F.avg_pool2d(different, FACTOR // 2 // CHANGE_SCALE)
    return F.pad(cells, (0, 0, 0, 0, 0, length - len(cells)))


def key_step_losses(model: nn.Module, batch: KeyStepBatch, noise: torch.Generator) -> Losses:
    """`drawing_losses` plus the loss on the regions."""
    assert isinstance(model, KeyStepModel)
    drawing, skills = _drawing(model, batch, noise)
    pointing = _pointing(model, skills, batch)
    return {**drawing, "loss": drawing["loss"] + POINTING * pointing.pop("loss"), **pointing}


def drawing_losses(model: nn.Module, batch: KeyStepBatch, noise: torch.Generator) -> Losses:
    """Flow-matching loss over all steps, where the picture differs from the frame more."""
    assert isinstance(model, KeyStepModel)
    return _drawing(model, batch, noise)[0]


def _drawing(model: KeyStepModel, batch: KeyStepBatch, noise: torch.Generator) -> tuple[Losses, Skills]:
    target = batch.target
    level = noise_levels(len(target), SHIFT[IMAGE], noise)
    epsilon = torch.randn(target.shape, generator=noise)
    at = level[:, None, None, None, None]
    condition = model.condition(batch.frame, batch.tokens, batch.mask)
    velocity = model((1 - at) * target + at * epsilon, level, condition)
    squared = (velocity.float() - (epsilon - target)).square()
    weight = (0.1 + 0.9 * batch.real)[:, :, None, None, None]
    different = (target.abs().amax(2, keepdim=True) > 2.5).float()  # latents of what moved lie far from the mean
    flow = (squared * weight * (0.5 + 2.0 * different)).mean()
    return {"loss": flow, "flow": squared.mean().detach()}, condition.skills


def pointing_losses(model: nn.Module, batch: KeyStepBatch, noise: torch.Generator) -> Losses:
    """The loss on the regions alone, with which the Skill Transformer begins: it needs no image generator."""
    assert isinstance(model, KeyStepModel)
    return _pointing(model, model.skills(batch.frame, batch.tokens, batch.mask), batch)


def _pointing(model: KeyStepModel, skills: Skills, batch: KeyStepBatch) -> Losses:
    """Region of change of whole plans, region of change and of motion of single steps."""
    there = (batch.real > 0) & batch.told[:, None]
    plan = region_loss(skills.change[:, there], batch.change[there])
    assert batch.steps is not None
    alone = model.skills(batch.steps.frame, batch.steps.tokens, batch.steps.mask)
    change = region_loss(alone.change, batch.steps.change)
    motion = region_loss(alone.motion, batch.steps.motion)
    return {
        "loss": plan + change + motion,
        "plan": plan.detach(),
        "change": change.detach(),
        "motion": motion.detach(),
    }


def region_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy (summed over a picture, in hundreds) plus 1 − soft IoU (IVG Eq. 4).

    Args:
        logits: (layers, ..., h, w); every layer learns, as in Mask2Former.
        truth: (..., h, w) in [0, 1].
    """
    if not truth.numel():
        return logits.sum()
    truth = truth.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum((-2, -1)).mean() / 100
    return entropy + 1 - soft_iou(logits.sigmoid(), truth).mean()
