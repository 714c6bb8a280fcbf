"""The KIG: draws the scene after each step of a plan, all steps together, from the camera frame and the sentences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ksgen_models.mini.config import MiniConfig
from ksgen_models.mini.layers import ImageStem, TextProjection
from ksgen_models.mini.skill_transformer import SkillTransformer
from ksgen_models.mini.unet import Condition, FactorisedUNet

IMAGE = "image"


class KeyStepModel(nn.Module):
    """Velocity of the latents of all key-step images of a plan.

    The image generator is the backbone of `unet` with the plan's steps as its time axis; the Skill Transformer's
    tokens join each step's own text tokens in its cross-attention.

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
        self.skill = SkillTransformer(config.skill, unet.text, unet.widths[0], config.image_size // 16, unet.max_length)

    def condition(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> Condition:
        """(B, 3, 8h, 8w) in [-1, 1], (B, S, L, D), (B, S, L) bool → what the UNet is told."""
        b, steps = tokens.shape[:2]
        spatial = self.stem(frame)
        text, text_mask = self.text(tokens.flatten(0, 1), mask.flatten(0, 1))  # (B*S, 1 + L, C)
        length, channels = text.shape[1:]
        skill = self.skill(spatial, text.reshape(b, steps, length, channels), text_mask.reshape(b, steps, length))
        skill = skill.flatten(0, 1)  # (B*S, Q, C)
        always = torch.ones(skill.shape[:2], dtype=torch.bool, device=skill.device)
        return Condition(spatial, torch.cat([skill, text], dim=1), torch.cat([always, text_mask], dim=1))

    def forward(self, x: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """Noisy (B, S, C, h, w), noise level (B,) → velocity, noise minus data."""
        return self.unet(x, noise, condition, IMAGE)
