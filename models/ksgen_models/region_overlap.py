"""How far two regions overlap, where they are probabilities; differentiable, for losses and choices."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_iou(drawn: Tensor, target: Tensor) -> Tensor:
    """Soft intersection over union (IVG Eq. 4) of (..., h, w) in [0, 1], broadcast: (...), 0 where both are empty."""
    both = drawn * target
    return both.sum((-2, -1)) / (drawn + target - both).sum((-2, -1)).clamp(min=1e-6)


def miou_loss(drawn: Tensor, target: Tensor) -> Tensor:
    """1 − mean of the soft intersection over union (IVG Eq. 4) of (..., h, w) in [0, 1].

    Frames whose target is empty say nothing about overlap and are left out.
    """
    there = target.amax((-2, -1)) > 0.5
    return 1 - soft_iou(drawn, target)[there].mean() if there.any() else drawn.sum() * 0


def best_cut(likely: Tensor) -> Tensor:
    """The probability from which on pixels (h, w) are to be taken so that their IoU with what will happen is greatest.

    Of the sets of likeliest pixels the one whose expected intersection has the greatest share in the expected union: a
    hand that may come from many sides is likely nowhere, and still must come from somewhere. With equal chances of all
    pixels that is half the F1 score that is reached (Lipton et al. 2014).
    """
    falling = likely.flatten().sort(descending=True).values
    inside = falling.cumsum(0)
    taken = torch.arange(1, len(falling) + 1)
    return falling[(inside / (taken + inside[-1] - inside)).argmax()]
