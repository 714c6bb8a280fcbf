"""Between arrays of pictures and tensors that networks take."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def to_video(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, 3) uint8 → (3, T, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(frames.astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)


def to_frames(video: Tensor) -> NDArray[np.uint8]:
    """(3, T, H, W) in about [-1, 1] → (T, H, W, 3) uint8."""
    levels = ((video.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return np.ascontiguousarray(levels.permute(1, 2, 3, 0).cpu().numpy())


def latent_mask(region: Tensor, frames: int, height: int, width: int) -> Tensor:
    """A region (H, W) in [0, 1] as the mask channel (1, frames, height, width) of latents."""
    small = F.interpolate(region[None, None].float(), (height, width), mode="area")
    return small.expand(-1, frames, -1, -1).contiguous()
