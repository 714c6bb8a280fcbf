"""The progress network: looks at a picture with sentences in mind, and says of each what it knows.

A few learned queries a sentence read it, look at the picture and at the queries of the sentences asked together with
it, and so on for some layers, as in the Skill Transformer. A plan's steps are asked together, as a set without order:
that a closed drawer holds the red ball can only be told from what else was to be done.

The queries also point at where their step changes the picture, before or after it is done. Nothing but training uses
that: which block is the green one is learnt from it, and slowly from one bit a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.cells import Cells
from ksgen_models.mini.config import ProgressConfig
from ksgen_models.mini.layers import ReadingLayer, waves

ANSWERS = ("done", "seen", "smaller")


@dataclass(frozen=True)
class Progress:
    """What the network says of S sentences about each of B pictures.

    Attributes:
        done: (B, S) logits, what the sentence asks for has been done.
        seen: (B, S) logits, what the sentence names is there.
        smaller: (B, S) logits, of the two things that it names the first is the smaller one.
        where: (B, S, h, w) logits, where the step changes the picture; a cell is 16 pixels.
    """

    done: Tensor
    seen: Tensor
    smaller: Tensor
    where: Tensor


class ProgressNetwork(nn.Module):
    """Answers sentences about a picture of the model's image size.

    Args:
        config: sizes.
        text_channels: length of a MiniLM token state.
    """

    def __init__(self, config: ProgressConfig, text_channels: int = 384) -> None:
        super().__init__()
        channels = config.channels
        self.queries_per_sentence = config.queries
        self.cells = Cells(config.width)
        self.pixels = nn.Linear(self.cells.channels, channels)
        self.place = nn.Linear(waves(1, 1).shape[1], channels)
        self.pixel_norm = nn.LayerNorm(channels)
        self.text = nn.Linear(text_channels, channels)
        self.queries = nn.Parameter(0.2 * torch.randn(config.queries, channels))
        self.layers = nn.ModuleList([ReadingLayer(channels, channels // config.heads) for _ in range(config.layers)])
        self.pointer = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))
        self.rarity = nn.Parameter(torch.tensor(-4.0))
        self.answer = nn.Sequential(
            nn.LayerNorm(config.queries * channels), nn.Linear(config.queries * channels, len(ANSWERS))
        )

    def forward(self, picture: Tensor, tokens: Tensor, mask: Tensor, together: Tensor) -> Progress:
        """Answer S sentences about each picture.

        Args:
            picture: (B, 3, H, W) in [-1, 1].
            tokens, mask: (B, S, L, D) and (B, S, L) bool, MiniLM token states.
            together: (B, S, S) bool, which sentences may know of each other.
        """
        b, s, length, _ = tokens.shape
        pixels, height = self._look(picture)
        text = self.text(tokens).reshape(b * s, length, -1)
        words = mask.reshape(b * s, length) | ~mask.any(-1).reshape(b * s, 1)  # padding sentences read anything
        queries = self.queries.expand(b, s, -1, -1)
        talk = together.repeat_interleave(self.queries_per_sentence, 1).repeat_interleave(self.queries_per_sentence, 2)
        sight = torch.cat([talk, talk.new_ones(b, talk.shape[1], pixels.shape[1])], dim=-1)  # (B, S*Q, S*Q + h*w)
        for layer in self.layers:
            queries = layer(queries, pixels, text, words, sight)
        pointers = self.pointer(queries)  # (B, S, Q, C)
        where = torch.einsum("bsqc,bpc->bsqp", pointers, pixels).float() * pixels.shape[-1] ** -0.5
        done, seen, smaller = self.answer(queries.flatten(2)).float().unbind(-1)
        return Progress(done, seen, smaller, where.logsumexp(2).unflatten(-1, (height, -1)) + self.rarity)

    def _look(self, picture: Tensor) -> tuple[Tensor, int]:
        """(B, 3, H, W) → pixels (B, h*w, C) and their rows, h = H / 16."""
        x = self.cells(picture)
        height, width = x.shape[-2:]
        pixels = self.pixels(F.silu(x).flatten(2).transpose(1, 2))
        return self.pixel_norm(pixels + self.place(waves(height, width, x.device).to(pixels.dtype))), height
