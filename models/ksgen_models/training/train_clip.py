"""Training of the clip model: IVG's two stages on one backbone.

Stage 1 (head "masks"): flow-matching loss on the mask clip plus β · mIoU loss on the reconstructed masks (Eq. 3, 4).
Stage 2 (head "clip"): flow-matching loss on the clip's latents, given the region of motion (Eq. 5). IVG predicts the
noise; the velocity predicted here is the same quantity in flow matching's parametrisation. The regions given to
stage 2 are the true ones, roughened. Both stages are told the true hand track, a little astray.

The hand structure loss (Eq. 2, 6) joins stage 2 in a second, shorter run on the weights of the first: on drawings that
show no hand yet it has nothing to hold on to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.clip_model import CLIP, MASKS, ClipModel, latent_to_masks, masks_to_latent
from ksgen_models.mini.hand_pictures import hand_pictures
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.sampling import SHIFT, noise_levels
from ksgen_models.mini.unet import Condition
from ksgen_models.region_overlap import miou_loss
from ksgen_models.training.cache import Cache
from ksgen_models.training.fit import Losses
from ksgen_models.training.hand_frames import Footage, HandFrames, HandTerm

STAGE_1_SHARE = 0.3
BETA = 0.1
"""Weight of the mIoU loss (IVG §4.3)."""
UNION_SHARE = 0.25
"""How often stage 2 is told only the union of the masks over time, as IVG does, and not where the hand is when."""
NO_TEXT, NO_GOAL, NO_REGIONS, NO_TRACK, NO_LOOK = 0.1, 0.1, 0.1, 0.15, 0.1
"""How often each thing is withheld in training, so that it may be withheld when generating (guidance)."""
ASTRAY = (0.006, 0.003)
"""How far a hand track that is told is off, in shares of the picture: all of it together, and each joint besides."""


@dataclass(frozen=True)
class ClipBatch:
    """Attributes: as the arguments of `ClipModel.condition`; ``target`` (B, T, C, s, s) in the space of ``head``;
    ``weight`` (B, T, 1, s, s), how much each latent pixel counts in stage 2; ``hands``, frames for the hand structure
    loss of stage 2, or None.
    """

    head: str
    target: Tensor
    weight: Tensor
    image: Tensor
    goal: Tensor
    regions: Tensor
    track: Tensor
    tokens: Tensor
    mask: Tensor
    look: Tensor
    has_text: Tensor
    has_goal: Tensor
    has_regions: Tensor
    has_track: Tensor
    has_look: Tensor
    hands: HandFrames | None


@dataclass(frozen=True)
class ClipBatches:
    """Draws batches from a cache.

    Attributes:
        cache: the clips.
        tokens, mask: (V, L, D) float16 and (V, L) bool, MiniLM token states of ``cache.texts``.
        footage: the frames of the clips, for the hand structure loss; None goes without. The rest of a batch is the
            same with it and without.
        stage_1: share of the batches that are of stage 1.
    """

    cache: Cache
    tokens: Tensor
    mask: Tensor
    footage: Footage | None = None
    stage_1: float = STAGE_1_SHARE

    def __call__(self, random: np.random.Generator, number: int) -> ClipBatch:
        """``number`` clips, all for one stage."""
        cache = self.cache
        chosen = random.integers(len(cache.clip_picture), size=number)
        head = MASKS if random.random() < self.stage_1 else CLIP
        masks = torch.from_numpy(np.stack([cache.masks[index] for index in chosen])).float() / 255  # (B, T, 2, 4s, 4s)
        if head == MASKS:
            target = masks_to_latent(masks)
        else:
            target = torch.from_numpy(np.stack([cache.latents[index] for index in chosen])).float()
        pictures = cache.clip_picture[chosen]
        text = torch.from_numpy(cache.clip_text[chosen])
        nothing = random.random(number) < NO_TEXT  # neither text nor goal: what guidance moves away from

        def keep(share: float) -> Tensor:
            return torch.from_numpy(~nothing & (random.random(number) >= share))

        return ClipBatch(
            head=head,
            target=target,
            weight=_importance(masks),
            image=picture_tensor(torch.from_numpy(cache.pictures[pictures])),
            goal=picture_tensor(torch.from_numpy(cache.pictures[pictures + 1])),
            regions=roughen(_united(masks, random), random),
            track=_drawn(cache.tracks[chosen], masks.shape[-1], random),
            tokens=self.tokens[text].float(),
            mask=self.mask[text],
            look=torch.from_numpy(cache.looks[chosen]),
            has_text=torch.from_numpy(~nothing),
            has_goal=keep(NO_GOAL),
            has_regions=torch.from_numpy(random.random(number) >= (1.0 if head == MASKS else NO_REGIONS)),
            has_track=torch.from_numpy(random.random(number) >= NO_TRACK),
            has_look=torch.from_numpy(random.random(number) >= NO_LOOK),
            hands=self.footage.hand_frames(chosen, random) if self.footage and head == CLIP else None,
        )


def _importance(masks: Tensor) -> Tensor:
    """Weight of each latent pixel, from (B, T, 2, 4s, 4s) masks: little where nothing moves, most where a hand is."""
    hand, change = F.avg_pool2d(masks.flatten(0, 1), 4).unflatten(0, masks.shape[:2]).chunk(2, dim=2)
    return 0.4 + 1.6 * torch.maximum(hand, change) + 1.6 * hand


def roughen(regions: Tensor, random: np.random.Generator) -> Tensor:
    """Shift, blur and grow or shrink (B, T, 2, h, w) masks in [0, 1]; returns them in [-1, 1]."""
    shift = random.integers(-1, 2, 2)
    kernel = 2 * int(random.integers(0, 3)) + 1
    moved = torch.roll(regions.flatten(0, 1), (int(shift[0]), int(shift[1])), (2, 3))
    blurred = F.avg_pool2d(moved, kernel, stride=1, padding=kernel // 2).reshape(regions.shape)
    return ((blurred - random.uniform(0.3, 0.7)) * random.uniform(2, 8)).clamp(-0.5, 0.5) * 2


def _drawn(tracks: NDArray[np.float32], side: int, random: np.random.Generator) -> Tensor:
    """Tracks (B, T, 2, 21, 2) as the model is told them, a little astray: (B, T, `HAND_CHANNELS`, side, side)."""
    together, apart = ASTRAY
    astray = random.normal(0, together, (len(tracks), 1, 1, 1, 2)) + random.normal(0, apart, tracks.shape)
    return torch.from_numpy(np.stack([hand_pictures(track, side) for track in tracks + astray])).float() / 255


def _united(masks: Tensor, random: np.random.Generator) -> Tensor:
    """The masks (B, T, 2, h, w), with some clips' frames all replaced by their union over time, as in IVG."""
    only_union = torch.from_numpy(random.random(len(masks)) < UNION_SHARE)
    return torch.where(only_union[:, None, None, None, None], masks.amax(1, keepdim=True), masks)


def _condition(model: ClipModel, batch: ClipBatch) -> Condition:
    return model.condition(
        batch.image,
        batch.goal,
        batch.regions,
        batch.track,
        batch.tokens,
        batch.mask & batch.has_text[:, None],
        batch.look,
        has_goal=batch.has_goal,
        has_regions=batch.has_regions,
        has_track=batch.has_track,
        has_look=batch.has_look,
    )


def clip_losses(
    model: nn.Module,
    batch: ClipBatch,
    noise: torch.Generator,
    *,
    beta: float = BETA,
    hand: HandTerm | None = None,
    clip_shift: float = SHIFT[CLIP],
) -> Losses:
    """The loss of stage 1 or 2, by the batch's head.

    Args:
        model: a `ClipModel`.
        batch: with frames of hands where ``hand`` is to be used.
        noise: its generator.
        beta: weight of the mIoU loss.
        hand: the hand structure loss; None goes without.
        clip_shift: where in the noise stage 2 is trained, see `ksgen_models.mini.sampling.SHIFT`.
    """
    assert isinstance(model, ClipModel)
    number = len(batch.target)
    level = noise_levels(number, clip_shift if batch.head == CLIP else SHIFT[batch.head], noise)
    epsilon = torch.randn(batch.target.shape, generator=noise)
    at = level[:, None, None, None, None]
    noisy = (1 - at) * batch.target + at * epsilon
    condition = _condition(model, batch)
    velocity = model(noisy, level, condition, batch.head).float()
    squared = (velocity - (epsilon - batch.target)).square()
    if batch.head == MASKS:
        flow = squared.mean()
        overlap = miou_loss(latent_to_masks(noisy - at * velocity), latent_to_masks(batch.target))
        return {"loss": flow + beta * overlap, "stage1": flow.detach(), "miou_loss": overlap.detach()}
    flow = (squared * batch.weight).mean()
    figures = {"stage2": squared.mean().detach()}
    if hand is None or batch.hands is None:
        return {"loss": flow, **figures}
    structure = hand(noisy - at * velocity, level, batch.hands)
    return {"loss": flow + structure, **figures, "hand": structure.detach()}
