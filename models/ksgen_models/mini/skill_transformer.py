"""The Skill Transformer: reads the frame and all step sentences together, writes condition tokens for every step.

KS-Gen's abstract names the part and its purpose, key-step images that follow from each other; its body was not
available, so this is the reading built here. A set of learned queries a step reads that step's sentence, then looks at
the frame and at the other steps' queries; the frame's tokens look at all of them; and so on for a few layers. Each
step's queries come out knowing what it is about, where that is, and what the other steps do.

After every layer the queries also point at where their step changes the picture and where hands will be meanwhile, as
Mask2Former's do (Cheng et al. 2022): a pixel's scalar product with the query that likes it best. Which of four blocks
is the green one is learnt from that, and hardly from the loss on the generated picture alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.config import SkillTransformerConfig
from ksgen_models.mini.layers import Attention, FeedForward, ReadingLayer


@dataclass(frozen=True)
class Skills:
    """What the image generator is told of a plan's steps.

    Attributes:
        tokens: (B, S, Q, C) condition tokens.
        change: (layers, B, S, 2h, 2w) logits, where each layer says that the step changes the picture.
        motion: (layers, B, S, 2h, 2w) logits, where each layer says that hands will be in the course of the step.
    """

    tokens: Tensor
    change: Tensor
    motion: Tensor


class SkillTransformer(nn.Module):
    """Condition tokens and region of change for each step of a plan.

    Args:
        config: layers, heads, queries.
        channels: length of every token.
        frame_channels, fine_channels: channels of the frame features at the latent's size, and at twice that.
        frame_size: height (= width) of the frame features.
        max_steps: the longest plan.
    """

    def __init__(
        self,
        config: SkillTransformerConfig,
        channels: int,
        frame_channels: int,
        fine_channels: int,
        frame_size: int,
        max_steps: int,
    ) -> None:
        super().__init__()
        self.queries_per_step = config.queries
        self.frame = nn.Conv2d(frame_channels, channels, 1)
        self.frame_position = nn.Parameter(0.02 * torch.randn(frame_size**2, channels))
        self.queries = nn.Parameter(0.02 * torch.randn(config.queries, channels))
        self.step_position = nn.Parameter(0.02 * torch.randn(max_steps, 1, channels))
        self.layers = nn.ModuleList([Layer(channels, channels // config.heads) for _ in range(config.layers)])
        self.pixel_norm = nn.LayerNorm(channels)
        self.pixel = nn.Sequential(
            nn.Conv2d(channels + fine_channels, channels, 1), nn.SiLU(), nn.Conv2d(channels, channels, 1)
        )
        self.pointers = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 2 * channels)
        )
        self.rarity = nn.Parameter(torch.tensor([-5.0, -5.0]))  # most pixels do not change

    def forward(self, frame: Tensor, fine: Tensor, text: Tensor, text_mask: Tensor) -> Skills:
        """(B, F, h, w), (B, F', 2h, 2w), (B, S, L, C), (B, S, L) bool → tokens and regions."""
        b, steps = text.shape[:2]
        pixels = self.frame(frame).flatten(2).transpose(1, 2) + self.frame_position
        queries = (self.queries + self.step_position[:steps]).expand(b, -1, -1, -1)  # (B, S, Q, C)
        maps = []
        for layer in self.layers:
            queries, pixels = layer(queries, pixels, text, text_mask)
            maps.append(self._point(queries, pixels, fine))
        change, motion = torch.stack(maps).unbind(-1)
        return Skills(queries, change, motion)

    def _point(self, queries: Tensor, pixels: Tensor, fine: Tensor) -> Tensor:
        """(B, S, Q, C), (B, h*w, C), (B, F', 2h, 2w) → logits (B, S, 2h, 2w, 2) of change and motion."""
        b, _, channels = pixels.shape
        height, width = fine.shape[-2] // 2, fine.shape[-1] // 2
        coarse = self.pixel_norm(pixels).transpose(1, 2).reshape(b, channels, height, width)
        features = self.pixel(torch.cat([F.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], dim=1))
        pointers = torch.stack(self.pointers(queries).chunk(2, dim=-1), dim=-1)  # (B, S, Q, C, 2)
        each = torch.einsum("bsqcm,bchw->bsqhwm", pointers, features) * channels**-0.5
        return each.float().logsumexp(2) + self.rarity


class Layer(ReadingLayer):
    """Queries read, look and talk; the frame's tokens look back.

    Args:
        channels: of every token.
        head_channels: of an attention head.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__(channels, head_channels)
        self.look_back = Attention(channels, head_channels, channels)
        self.think_back = FeedForward(channels)

    def forward(self, queries: Tensor, pixels: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, Q, C), (B, h*w, C), (B, S, L, C), (B, S, L) bool → queries and pixels."""
        queries = super().forward(queries, pixels, text.flatten(0, 1), text_mask.flatten(0, 1))
        return queries, self.think_back(self.look_back(pixels, queries.flatten(1, 2)))
