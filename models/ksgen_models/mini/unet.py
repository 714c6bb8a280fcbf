"""The backbone that both stages of IVG share: a UNet whose blocks mix space and time in turn.

As IVG §3.1.1 describes it: convolutions a frame, convolutions and attention along time, cross-attention to the text.
The time axis is the frames of a clip, or, in the KIG, the steps of a plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.config import UNetConfig
from ksgen_models.mini.layers import (
    Attention,
    FeedForward,
    ResidualBlock,
    TimeConvolution,
    group_norm,
    pixels_last,
    sinusoidal,
)


@dataclass(frozen=True)
class Condition:
    """What a UNet is told.

    Attributes:
        spatial: (B, C, h, w) features at the latent's size, the same for all of time, or (B * T, C, h, w).
        tokens: (B * T, L, D) where every time has its own text, or (B, L, D) where all share one.
        mask: (B * T, L) or (B, L) bool, True where a token is.
        vector: (B, E) or None, added to the embedding of the noise level.
    """

    spatial: Tensor
    tokens: Tensor
    mask: Tensor
    vector: Tensor | None = None

    def repeat(self, number: int) -> Condition:
        """A batch of so many that are told the same."""
        return Condition.join([self] * number)

    @staticmethod
    def join(conditions: Sequence[Condition]) -> Condition:
        """One batch of what each is told."""
        vectors = [one.vector for one in conditions if one.vector is not None]
        return Condition(
            torch.cat([one.spatial for one in conditions]),
            torch.cat([one.tokens for one in conditions]),
            torch.cat([one.mask for one in conditions]),
            torch.cat(vectors) if vectors else None,
        )


class Block(nn.Module):
    """Residual block in space, convolution in time, and where asked for attention in space, to the text and in time."""

    def __init__(self, channels_in: int, channels_out: int, config: UNetConfig, *, attend: bool) -> None:
        super().__init__()
        self.residual = ResidualBlock(channels_in, channels_out, config.embedding)
        self.time = TimeConvolution(channels_out)
        self.attend = attend
        if attend:
            self.space_attention = Attention(channels_out, config.heads)
            self.text_attention = Attention(channels_out, config.heads, config.text)
            self.time_attention = Attention(channels_out, config.heads)
            self.feed_forward = FeedForward(channels_out)

    def forward(self, x: Tensor, embedding: Tensor, condition: Condition, positions: Tensor) -> Tensor:
        """(B*T, C_in, h, w), (B*T, E), positions (T, C_out) → (B*T, C_out, h, w)."""
        length = len(positions)
        x = self.time(self.residual(x, embedding), length)
        if not self.attend:
            return x
        n, c, h, w = x.shape
        y = pixels_last(x).reshape(n, h * w, c)
        y = self.space_attention(y)
        y = self._to_text(y, condition, length)
        y = y.reshape(-1, length, h * w, c).transpose(1, 2).reshape(-1, length, c)  # (B*h*w, T, C)
        y = self.time_attention(y + positions) - positions
        y = self.feed_forward(y)
        y = y.reshape(-1, h * w, length, c).transpose(1, 2).reshape(n, h, w, c)
        return y.permute(0, 3, 1, 2)

    def _to_text(self, y: Tensor, condition: Condition, length: int) -> Tensor:
        if len(condition.tokens) == len(y):
            return self.text_attention(y, condition.tokens, condition.mask)
        n, pixels, c = y.shape
        y = self.text_attention(y.reshape(n // length, length * pixels, c), condition.tokens, condition.mask)
        return y.reshape(n, pixels, c)


class FactorisedUNet(nn.Module):
    """Three levels down and up; one small input and output layer for each kind of thing it draws ("head").

    Args:
        config: sizes.
        heads: name → channels of what that head draws.
    """

    def __init__(self, config: UNetConfig, heads: dict[str, int]) -> None:
        super().__init__()
        self.config = config
        w0, w1, w2 = config.widths
        self.inputs = nn.ModuleDict({name: nn.Conv2d(c, w0, 3, padding=1) for name, c in heads.items()})
        self.head_embedding = nn.ParameterDict({name: nn.Parameter(torch.zeros(config.embedding)) for name in heads})
        self.noise_embedding = nn.Sequential(
            nn.Linear(config.embedding, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        self.time_embedding = nn.Parameter(0.02 * torch.randn(config.max_length, config.embedding))
        self.positions = nn.ParameterList(
            [nn.Parameter(0.02 * torch.randn(config.max_length, w)) for w in config.widths]
        )

        def blocks(channels_in: int, channels_out: int, number: int, attend: bool) -> nn.ModuleList:
            sizes = [channels_in] + [channels_out] * number
            return nn.ModuleList([Block(a, b, config, attend=attend) for a, b in itertools.pairwise(sizes)])

        n0, n1, n2 = config.blocks
        self.down0 = blocks(w0, w0, n0, attend=False)
        self.shrink0 = nn.Conv2d(w0, w1, 3, stride=2, padding=1)
        self.down1 = blocks(w1, w1, n1, attend=True)
        self.shrink1 = nn.Conv2d(w1, w2, 3, stride=2, padding=1)
        self.middle = blocks(w2, w2, n2, attend=True)
        self.everywhere = Attention(w2, config.heads)  # all pixels of all times with each other
        self.after = blocks(w2, w2, n2, attend=True)
        self.grow1 = nn.Conv2d(w2, w1, 3, padding=1)
        self.up1 = blocks(2 * w1, w1, n1, attend=True)
        self.grow0 = nn.Conv2d(w1, w0, 3, padding=1)
        self.up0 = blocks(2 * w0, w0, n0 + 1, attend=False)
        self.out_norm = group_norm(w0)
        self.outputs = nn.ModuleDict({name: nn.Conv2d(w0, c, 3, padding=1) for name, c in heads.items()})

    def forward(self, x: Tensor, noise: Tensor, condition: Condition, head: str) -> Tensor:
        """Noisy (B, T, C, h, w) and its noise level (B,) in [0, 1] → predicted velocity (B, T, C, h, w)."""
        b, t, c, height, width = x.shape
        embedding = (
            self.noise_embedding(sinusoidal(noise, self.config.embedding).to(self.time_embedding.dtype))
            + self.head_embedding[head]
        )
        if condition.vector is not None:
            embedding = embedding + condition.vector
        embedding = F.silu(embedding[:, None] + self.time_embedding[:t]).flatten(0, 1)  # (B*T, E)
        p0, p1, p2 = (positions[:t] for positions in self.positions)

        h = self.inputs[head](x.reshape(b * t, c, height, width)) + condition.spatial.repeat_interleave(
            b * t // len(condition.spatial), 0
        )
        h = h.contiguous(memory_format=torch.channels_last)
        for block in self.down0:
            h = block(h, embedding, condition, p0)
        skip0 = h
        h = self.shrink0(h)
        for block in self.down1:
            h = block(h, embedding, condition, p1)
        skip1 = h
        h = self.shrink1(h)
        for block in self.middle:
            h = block(h, embedding, condition, p2)
        h = self._attend_everywhere(h, p2)
        for block in self.after:
            h = block(h, embedding, condition, p2)
        h = self.grow1(F.interpolate(h, size=skip1.shape[-2:], mode="nearest"))
        h = torch.cat([h, skip1], dim=1)
        for block in self.up1:
            h = block(h, embedding, condition, p1)
        h = self.grow0(F.interpolate(h, size=skip0.shape[-2:], mode="nearest"))
        h = torch.cat([h, skip0], dim=1)
        for block in self.up0:
            h = block(h, embedding, condition, p0)
        return self.outputs[head](F.silu(self.out_norm(h))).reshape(b, t, c, height, width)

    def _attend_everywhere(self, h: Tensor, positions: Tensor) -> Tensor:
        n, c, height, width = h.shape
        length = len(positions)
        y = pixels_last(h).reshape(n // length, length, height * width, c) + positions[:, None]
        y = self.everywhere(y.flatten(1, 2)).reshape(n // length, length, height * width, c) - positions[:, None]
        return y.reshape(n, height, width, c).permute(0, 3, 1, 2)
