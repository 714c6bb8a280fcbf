"""What small things look like: a picture seen in cells of sixteen by sixteen pixels, the width of a 3 cm block."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.layers import ResidualBlock

CELL = 16
"""Pixels of a cell."""


class Cells(nn.Module):
    """The convolutions that scene reader and progress network begin with, each with weights of its own.

    Args:
        width: channels at a quarter of the picture's size; a cell has four times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = 4 * width
        self.patch = nn.Conv2d(48, width, 3, padding=1)
        widths = (width, width, 2 * width, self.channels)
        self.levels = nn.ModuleList([ResidualBlock(below, above) for below, above in pairwise(widths)])

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] → (N, C, H / 16, W / 16)."""
        first, *others = self.levels
        x = first(self.patch(F.pixel_unshuffle(picture, 4)))
        for level in others:
            x = level(F.avg_pool2d(x, 2))
        return x
