"""The Skill Transformer: reads the frame and all step sentences together, writes condition tokens for every step.

KS-Gen's abstract names the part and its purpose, key-step images that follow from each other; its body was not
available, so this is the reading built here: frame tokens, sentence tokens and a set of learned queries a step go
through one transformer, and each step's queries come out knowing what the other steps do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ksgen_models.mini.config import SkillTransformerConfig
from ksgen_models.mini.layers import Attention, FeedForward


class SkillTransformer(nn.Module):
    """Condition tokens for each step of a plan.

    Args:
        config: layers, heads, queries.
        channels: length of every token.
        frame_channels: channels of the frame features.
        frame_size: height (= width) of the frame features.
        max_steps: the longest plan.
    """

    def __init__(
        self, config: SkillTransformerConfig, channels: int, frame_channels: int, frame_size: int, max_steps: int
    ) -> None:
        super().__init__()
        self.queries_per_step = config.queries
        self.frame = nn.Conv2d(frame_channels, channels, 3, stride=2, padding=1)
        self.frame_position = nn.Parameter(0.02 * torch.randn((frame_size // 2) ** 2, channels))
        self.queries = nn.Parameter(0.02 * torch.randn(config.queries, channels))
        self.step_position = nn.Parameter(0.02 * torch.randn(max_steps, 1, channels))
        self.layers = nn.ModuleList(
            [
                nn.ModuleList([Attention(channels, channels // config.heads), FeedForward(channels)])
                for _ in range(config.layers)
            ]
        )

    def forward(self, frame: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """(B, F, h, w), (B, S, L, C), (B, S, L) bool → (B, S, Q, C)."""
        b, steps, length, channels = text.shape
        frame_tokens = self.frame(frame).flatten(2).transpose(1, 2) + self.frame_position
        positions = self.step_position[:steps]
        text_tokens = (text + positions).reshape(b, steps * length, channels)
        queries = (self.queries + positions).expand(b, -1, -1, -1).flatten(1, 2)
        x = torch.cat([queries, frame_tokens, text_tokens], dim=1)
        always = torch.ones(b, x.shape[1] - steps * length, dtype=torch.bool, device=x.device)
        mask = torch.cat([always, text_mask.reshape(b, -1)], dim=1)
        for attention, feed_forward in self.layers:  # type: ignore[misc]
            x = feed_forward(attention(x, None, mask))
        return x[:, : steps * self.queries_per_step].reshape(b, steps, self.queries_per_step, channels)
