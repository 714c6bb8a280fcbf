"""How far two regions overlap, where they are probabilities; differentiable, for losses and choices."""

from __future__ import annotations

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
