"""The KIG: draws the scene after each step of a plan, all steps together, from the camera frame and the sentences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.config import MiniConfig
from ksgen_models.mini.layers import ImageStem, TextProjection
from ksgen_models.mini.skill_transformer import Skills, SkillTransformer
from ksgen_models.mini.unet import Condition, FactorisedUNet

IMAGE = "image"
CHANGE_SCALE = 2
"""The Skill Transformer's regions of change have this many times the latent's height and width."""


@dataclass(frozen=True)
class KeyStepCondition:
    """What the image generator is told, and what the Skill Transformer says.

    Attributes:
        unet: for the backbone.
        skills: the last layer's region of change is among what the backbone is told.
    """

    unet: Condition
    skills: Skills


class KeyStepModel(nn.Module):
    """Velocity of the latents of all key-step images of a plan.

    The image generator is the backbone of `unet` with the plan's steps as its time axis; the Skill Transformer's
    tokens join each step's own text tokens in its cross-attention, and its regions of change the frame's features.

    Args:
        config: sizes.
        text_channels: length of a MiniLM token state.
    """

    def __init__(self, config: MiniConfig, text_channels: int = 384) -> None:
        super().__init__()
        self.config = config
        unet = config.key_step
        self.unet = FactorisedUNet(unet, {IMAGE: config.autoencoder.latent_channels})
        self.stem = ImageStem(3, unet.widths[0])
        self.text = TextProjection(text_channels, unet.text)
        self.skill = SkillTransformer(
            config.skill, unet.text, unet.widths[0], self.stem.width, config.image_size // 16, unet.max_length
        )
        self.changes = nn.Conv2d(2 * CHANGE_SCALE**2, unet.widths[0], 1)

    def condition(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> KeyStepCondition:
        """(B, 3, 8h, 8w) in [-1, 1], (B, S, L, D), (B, S, L) bool → what the UNet is told."""
        spatial, text, text_mask, skills = self._read(frame, tokens, mask)
        tokens = skills.tokens.flatten(0, 1)  # (B*S, Q, C)
        always = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        drawn = self.changes(_now_and_so_far(skills.change[-1]).to(spatial.dtype))
        spatial = spatial.repeat_interleave(text.shape[1], 0) + drawn
        text, text_mask = text.flatten(0, 1), text_mask.flatten(0, 1)
        unet = Condition(spatial, torch.cat([tokens, text], dim=1), torch.cat([always, text_mask], dim=1))
        return KeyStepCondition(unet, skills)

    def skills(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> Skills:
        """What the Skill Transformer says; arguments as of `condition`."""
        return self._read(frame, tokens, mask)[-1]

    def _read(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Skills]:
        b, steps = tokens.shape[:2]
        fine = self.stem.fine(frame)
        spatial = self.stem.coarse(fine)
        text, text_mask = self.text(tokens.flatten(0, 1), mask.flatten(0, 1))  # (B*S, 1 + L, C)
        text, text_mask = text.unflatten(0, (b, steps)), text_mask.unflatten(0, (b, steps))
        return spatial, text, text_mask, self.skill(spatial, fine, text, text_mask)

    def forward(self, x: Tensor, noise: Tensor, condition: KeyStepCondition) -> Tensor:
        """Noisy (B, S, C, h, w), noise level (B,) → velocity, noise minus data."""
        return self.unet(x, noise, condition.unet, IMAGE)


def _now_and_so_far(change: Tensor) -> Tensor:
    """(B, S, 2h, 2w) logits → (B*S, 8, h, w) in [-1, 1]: what each step changes, and what was changed up to then."""
    now = 2.0 * change.sigmoid() - 1.0
    both = torch.stack([now, now.cummax(dim=1).values], dim=2).flatten(0, 1)
    return F.pixel_unshuffle(both, CHANGE_SCALE)
