"""Building blocks of the mini networks. B batch, T time (frames of a clip or steps of a plan), C channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with groups of at least four channels."""
    return nn.GroupNorm(math.gcd(8, max(1, channels // 4)), channels)


def zeroed(module: nn.Module) -> nn.Module:
    """Set a module's parameters to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def sinusoidal(values: Tensor, dimension: int) -> Tensor:
    """Sinusoidal embedding of (B,) values in [0, 1] to (B, dimension) (DDPM, Ho et al. 2020)."""
    half = dimension // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=values.device) / half)
    angles = 1000.0 * values.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def pixels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H, W, C); no copy where the memory is channels-last."""
    return x.permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with group normalisation, optionally modulated by an embedding (scale and shift)."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int | None = None) -> None:
        super().__init__()
        self.norm1 = group_norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * channels_out) if embedding else None
        self.norm2 = group_norm(channels_out)
        self.conv2 = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(N, C_in, H, W), (N, E) → (N, C_out, H, W)."""
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.modulation is not None and embedding is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class TimeConvolution(nn.Module):
    """A residual 3-tap convolution along time, each pixel for itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.conv = zeroed(nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, length: int) -> Tensor:
        """(B*T, C, H, W) → the same."""
        _, c, h, w = x.shape
        # In channels-last memory both views are the same bytes, so nothing is copied.
        y = pixels_last(F.silu(self.norm(x))).reshape(-1, length, h * w, c).permute(0, 3, 1, 2)  # (B, C, T, H*W)
        y = self.conv(y).permute(0, 2, 3, 1).reshape(-1, h, w, c)
        return x + y.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Residual multi-head attention over (N, L, C), to itself or to a context (N, M, D)."""

    def __init__(self, channels: int, head_channels: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(context or channels, 2 * channels, bias=False)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``mask`` (N, M) or (N, L, M) bool is True where the context may be looked at."""
        n, length, c = x.shape
        y = self.norm(x)
        source = y if context is None else context
        query = self.query(y).view(n, length, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(source).view(n, source.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Written out: for sequences this short it is three to six times faster to train on a CPU than the fused kernel.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if mask is not None:
            allowed = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
            scores = scores.masked_fill(~allowed, -1e4)
        y = scores.softmax(dim=-1).to(value.dtype) @ value
        return x + self.out(y.transpose(1, 2).reshape(n, length, c))


class FeedForward(nn.Module):
    """Residual two-layer perceptron over the last axis."""

    def __init__(self, channels: int, expansion: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, expansion * channels)
        self.down = zeroed(nn.Linear(expansion * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) → (..., C)."""
        return x + self.down(F.gelu(self.up(self.norm(x))))


class LookingLayer(nn.Module):
    """Queries look at each other and at what is seen, and think.

    Args:
        channels: of every token.
        head_channels: of an attention head.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.look = Attention(channels, head_channels, channels)
        self.think = FeedForward(channels)

    def forward(self, queries: Tensor, seen: Tensor, sight: Tensor | None = None) -> Tensor:
        """(B, N, C), (B, M, C) → queries; ``sight`` (B, N + M) or (B, N, N + M) bool, what may be looked at."""
        return self.think(self.look(queries, torch.cat([queries, seen], dim=1), sight))


class ReadingLayer(LookingLayer):
    """Queries of several sentences first read their own one.

    Args:
        channels: of every token.
        head_channels: of an attention head.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__(channels, head_channels)
        self.read = Attention(channels, head_channels, channels)

    def forward(
        self, queries: Tensor, seen: Tensor, text: Tensor, words: Tensor, sight: Tensor | None = None
    ) -> Tensor:
        """(B, S, Q, C), (B, M, C), (B * S, L, C), (B * S, L) bool, (B, S * Q, S * Q + M) bool → queries."""
        shape = queries.shape
        read = self.read(queries.flatten(0, 1), text, words).reshape(shape[0], -1, shape[-1])  # (B, S*Q, C)
        return super().forward(read, seen, sight).reshape(shape)


class ImageStem(nn.Module):
    """Reads pictures of half the model's image size into features at the latent's size, once a clip."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.width = width = max(16, channels_out // 2)
        self.patch = nn.Conv2d(16 * channels_in, width, 3, padding=1)
        self.block1 = ResidualBlock(width, width)
        self.down = nn.Conv2d(width, channels_out, 3, stride=2, padding=1)
        self.block2 = ResidualBlock(channels_out, channels_out)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C_in, 8h, 8w) in [-1, 1] → (B, C_out, h, w)."""
        return self.coarse(self.fine(pictures))

    def fine(self, pictures: Tensor) -> Tensor:
        """(B, C_in, 8h, 8w) in [-1, 1] → (B, width, 2h, 2w), the features half-way."""
        return self.block1(self.patch(F.pixel_unshuffle(pictures, 4)))

    def coarse(self, fine: Tensor) -> Tensor:
        """(B, width, 2h, 2w) → (B, C_out, h, w)."""
        return self.block2(self.down(fine))


class TextProjection(nn.Module):
    """Turns frozen MiniLM token states into this network's text tokens; an empty mask means «no text»."""

    def __init__(self, channels_in: int, channels: int, max_tokens: int = 24) -> None:
        super().__init__()
        self.project = nn.Linear(channels_in, channels)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, channels))
        self.attention = Attention(channels, max(8, channels // 4))
        self.feed_forward = FeedForward(channels)
        self.no_text = nn.Parameter(0.02 * torch.randn(1, 1, channels))

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, D), (N, L) bool → (N, 1 + L, C), (N, 1 + L) bool; token 0 is always there and stands for «no text»."""
        x = self.project(tokens) + self.position[: tokens.shape[1]]
        x = torch.cat([self.no_text.expand(len(x), -1, -1), x], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        x = self.feed_forward(self.attention(x, x, mask))
        return x, mask


def waves(height: int, width: int, device: torch.device | None = None, octaves: int = 4) -> Tensor:
    """(height * width, 4 * octaves) sines and cosines of each cell's place, row by row."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    angles = grid * torch.pi * 2.0 ** torch.arange(octaves, device=device)  # (h*w, 2, octaves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)


def picture_tensor(picture: Tensor) -> Tensor:
    """uint8 (..., H, W, 3) → float32 (..., 3, H, W) in [-1, 1]."""
    return picture.movedim(-1, -3).float() / 127.5 - 1.0
