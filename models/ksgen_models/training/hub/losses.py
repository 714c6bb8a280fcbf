"""The losses of IVG's two stages, on predictions and on a few decoded frames.

The losses on decoded frames (Eq. 4 and Eq. 2) are weighted by ``signal²``, the share of the picture in the noisy
latents: the paper computes them at every noise level, but where nearly everything is noise the estimated clip is a
blur, and what a hand detector says of it no guide.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ksgen_models.region_overlap import miou_loss
from ksgen_models.training.hub.kit import Kit
from ksgen_models.training.hub.noising import Levels


def prediction_loss(said: Tensor, target: Tensor, skip: int) -> Tensor:
    """Mean squared error of (B, C, T', h, w) (IVG Eq. 5), without the first ``skip`` frames."""
    return (said - target)[:, :, skip:].square().mean()


def masks_of(video: Tensor) -> Tensor:
    """Masks (B, T, H, W) in [0, 1] of a mask video (B, 3, T, H, W) in about [-1, 1]."""
    return ((video.mean(dim=1) + 1) / 2).clamp(0, 1)


def mask_video_loss(kit: Kit, clean: Tensor, regions: Tensor, levels: Levels, start: int, count: int) -> Tensor:
    """The mIoU loss of estimated mask clips, decoded.

    Args:
        kit: its VAE decodes.
        clean: (B, C, T', h, w) estimated latents.
        regions: (B, T, H, W) in [0, 1], true masks.
        levels: the noise levels of the B clips.
        start, count: which latent frames.
    """
    drawn, frames = kit.decode_window(clean, start, count)
    masks = masks_of(drawn)
    chosen = [at for at, frame in enumerate(frames) if frame > 0]  # frame 0 is the picture
    costs = [miou_loss(masks[clip][chosen], regions[clip][list(frames)][chosen]) for clip in range(len(masks))]
    return (torch.stack(costs) * levels.signal.to(clean.device).square()).mean()


def hand_video_loss(
    kit: Kit, judge: Any, clean: Tensor, keypoints: Tensor, levels: Levels, start: int, count: int
) -> Tensor:
    """The hand structure loss of estimated clips, decoded.

    Args:
        kit: its VAE decodes.
        judge: a `ksgen_models.hand_structure.HandStructureLoss` on the device.
        clean: (B, C, T', h, w) estimated latents.
        keypoints: (B, T, 2, 21, 3) true ones, NaN where absent.
        levels: the noise levels of the B clips.
        start, count: which latent frames.
    """
    drawn, frames = kit.decode_window(clean, start, count)
    costs = [judge(drawn[clip].transpose(0, 1), keypoints[clip, list(frames)]).loss for clip in range(len(drawn))]
    return (torch.stack(costs) * levels.signal.to(clean.device).square()).mean()
