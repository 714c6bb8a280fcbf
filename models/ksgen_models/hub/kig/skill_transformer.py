"""The Skill Transformer for full-size image generators: a diffusers model of its own.

KS-Gen's abstract names the part and its purpose, key-step images that follow from each other; its body was not
available, so this is the reading built here, the one that `ksgen_models.mini` has been measured with. A set of learned
queries a step reads that step's sentence, looks at the frame and at the queries of all other steps, the frame looks
back, and so on for a few layers. What comes out of a step's queries are its condition tokens, which
`ksgen_models.hub.kig.injection` brings into the image generator.

The frame comes as latents of the generator's own VAE. They are there in every SDXL and Kolors checkpoint, so that the
trained part needs no third download; they keep the place of everything to eight pixels, where a plan's steps differ
from each other; and whoever trains has them on disk already. The sentences come as token states of the generator's own
text encoders. docs/kig.md weighs this against features of a CLIP-like image encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from torch import Tensor, nn

_NEVER = -1e4


@dataclass
class Skills(BaseOutput):
    """What the Skill Transformer says of a plan.

    Attributes:
        tokens: (B, S, Q, token_dim) condition tokens.
        change: (B, S, h / patch, w / patch) logits, where each step changes the picture. Nothing is drawn from it; it
            can be trained against the difference of the pictures after and before a step, which is what taught the
            embedded model which of several things a sentence means (docs/mini.md).
    """

    tokens: Tensor
    change: Tensor


class SkillTransformer(ModelMixin, ConfigMixin):
    """Condition tokens for every step of a plan, from the frame and all sentences together.

    Saved and loaded with ``save_pretrained`` and ``from_pretrained``, as every diffusers model.

    Args:
        text_dim: length of a text token state (2048 for SDXL's two encoders, 4096 for Kolors' ChatGLM).
        token_dim: length of a condition token: the ``cross_attention_dim`` of the UNet (2048 for both).
        frame_channels: channels of the frame's latents.
        patch: latent pixels on each side of a frame token; 4 makes 32 × 32 tokens of a picture of 1024 × 1024.
        width: length of the tokens inside.
        layers, heads: of the transformer.
        queries: learned queries, hence condition tokens, a step.
        max_steps: the longest plan.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["SkillLayer"]  # noqa: RUF012 (diffusers reads a list)

    @register_to_config
    def __init__(
        self,
        text_dim: int = 2048,
        token_dim: int = 2048,
        frame_channels: int = 4,
        patch: int = 4,
        width: int = 1024,
        layers: int = 4,
        heads: int = 16,
        queries: int = 16,
        max_steps: int = 16,
    ) -> None:
        super().__init__()
        self.frame = nn.Conv2d(frame_channels, width, patch, stride=patch)
        self.text = nn.Sequential(nn.LayerNorm(text_dim), nn.Linear(text_dim, width))
        self.learned_queries = nn.Parameter(0.02 * torch.randn(queries, width))
        self.step_position = nn.Parameter(0.02 * torch.randn(max_steps, 1, width))
        self.blocks = nn.ModuleList([SkillLayer(width, heads) for _ in range(layers)])
        self.tokens = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, token_dim), nn.LayerNorm(token_dim))
        self.pointers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.pointed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.rarity = nn.Parameter(torch.tensor([-5.0]))  # most of a picture does not change
        self.gradient_checkpointing = False

    def forward(self, frame: Tensor, text: Tensor, text_mask: Tensor, step_mask: Tensor | None = None) -> Skills:
        """Read a plan.

        Args:
            frame: (B, C, h, w) scaled latents of the camera frame; what exceeds a multiple of ``patch`` is not seen.
            text: (B, S, L, text_dim) token states of the sentences.
            text_mask: (B, S, L) bool, True where a token is.
            step_mask: (B, S) bool, True where a step is, for plans of several lengths in one batch; None for all.

        Raises:
            ValueError: there are more steps than ``max_steps``.
        """
        b, steps = text.shape[:2]
        if steps > self.config["max_steps"]:
            raise ValueError(
                f"a plan of {steps} steps is longer than this Skill Transformer's {self.config['max_steps']}"
            )
        grid = self.frame(frame)
        height, width = grid.shape[-2:]
        pixels = grid.flatten(2).transpose(1, 2) + positions(height, width, grid.shape[1]).to(grid)
        words = self.text(text)  # (B, S, L, W)
        queries = (self.learned_queries + self.step_position[:steps]).expand(b, -1, -1, -1)  # (B, S, Q, W)
        checkpointed: Any = self._gradient_checkpointing_func
        for layer in self.blocks:
            if checkpointed is not None and self.gradient_checkpointing and torch.is_grad_enabled():
                queries, pixels = checkpointed(layer, queries, pixels, words, text_mask, step_mask)
            else:
                queries, pixels = layer(queries, pixels, words, text_mask, step_mask)
        found = torch.einsum("bsqc,bpc->bsqp", self.pointers(queries), self.pointed(pixels)) * pixels.shape[-1] ** -0.5
        change = found.float().logsumexp(2).unflatten(-1, (height, width)) + self.rarity
        return Skills(tokens=self.tokens(queries), change=change)


class SkillLayer(nn.Module):
    """Queries read, look and talk; the frame's tokens look back.

    Args:
        width: length of every token.
        heads: attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.read = CrossAttention(width, heads)
        self.look = CrossAttention(width, heads)
        self.think = Thought(width)
        self.look_back = CrossAttention(width, heads)
        self.think_back = Thought(width)

    def forward(
        self, queries: Tensor, pixels: Tensor, words: Tensor, text_mask: Tensor, step_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B, S, Q, W), (B, P, W), (B, S, L, W), (B, S, L) bool, (B, S) bool → queries and pixels."""
        b, steps, number, _ = queries.shape
        # Each step reads its own sentence only: from all in one sequence the embedded model never learnt which is its.
        queries = self.read(queries.flatten(0, 1), words.flatten(0, 1), text_mask.flatten(0, 1))
        queries = queries.unflatten(0, (b, steps)).flatten(1, 2)  # (B, S*Q, W)
        there = None if step_mask is None else step_mask.repeat_interleave(number, dim=1)
        seen = None if there is None else torch.cat([there, there.new_ones(pixels.shape[:2])], dim=1)
        queries = self.think(self.look(queries, torch.cat([queries, pixels], dim=1), seen))
        pixels = self.think_back(self.look_back(pixels, queries, there))
        return queries.unflatten(1, (steps, number)), pixels


class CrossAttention(nn.Module):
    """Residual attention (diffusers) of (N, L, W) to a context (N, M, W), both normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width)
        self.attention = Attention(width, cross_attention_dim=width, heads=heads, dim_head=width // heads)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` (N, M) bool is True where the context may be looked at."""
        # Added to the scores and finite: a sentence without any token must not make NaN.
        bias = None if mask is None else ((~mask).to(x.dtype) * _NEVER)[:, None]
        return x + self.attention(self.norm(x), self.norm_context(context), attention_mask=bias)


class Thought(nn.Module):
    """Residual feed-forward (diffusers) over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, activation_fn="gelu")

    def forward(self, x: Tensor) -> Tensor:
        """(..., W) → (..., W)."""
        return x + self.feed_forward(self.norm(x))


def positions(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels) sinusoids of the place in the picture, in [0, 1]: the same for every resolution.

    A quarter each for sine and cosine of x and of y (Vaswani et al. 2017), wavelengths from two pictures to a
    hundredth of one.
    """
    quarter = math.ceil(channels / 4)
    frequencies = math.pi * torch.logspace(0, math.log10(200.0), quarter)
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    rows = (y[:, None] * frequencies)[:, None].expand(-1, width, -1)
    columns = (x[:, None] * frequencies)[None].expand(height, -1, -1)
    waves = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=-1)
    return waves.flatten(0, 1)[:, :channels]
