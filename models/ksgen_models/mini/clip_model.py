"""IVG with one backbone: stage 1 draws the masks of a step, stage 2 its clip, given the masks.

IVG trains stage 2 on from stage 1's weights; here both are trained in one run on one set of weights, told apart by
the UNet's head, so that what is learnt about where hands go serves how they look and the reverse. Both may be told the
hand track to be expected (`ksgen_models.mini.track_model`), drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.config import MiniConfig
from ksgen_models.mini.hand_pictures import HAND_CHANNELS
from ksgen_models.mini.layers import ImageStem, TextProjection
from ksgen_models.mini.unet import Condition, FactorisedUNet

CLIP, MASKS = "clip", "masks"
MASK_PATCH = 4
"""Masks are drawn at four times the latent's size: each latent pixel holds a 4×4 patch of either mask."""
LOOK = 6
"""Skin RGB and sleeve RGB."""


class ClipModel(nn.Module):
    """Velocity of a clip's latents or of its masks, told pictures, text, regions, hand track and looks.

    Args:
        config: sizes.
        text_channels: length of a MiniLM token state.
    """

    def __init__(self, config: MiniConfig, text_channels: int = 384) -> None:
        super().__init__()
        self.config = config
        unet = config.clip
        heads = {CLIP: config.autoencoder.latent_channels, MASKS: 2 * MASK_PATCH**2}
        self.unet = FactorisedUNet(unet, heads)
        self.stem = ImageStem(6, unet.widths[0])
        self.no_goal = nn.Parameter(torch.zeros(unet.widths[0]))
        self.regions = nn.Conv2d(2 * MASK_PATCH**2, unet.widths[0], 1)
        self.no_regions = nn.Parameter(torch.zeros(unet.widths[0]))
        self.track = nn.Conv2d(HAND_CHANNELS * MASK_PATCH**2, unet.widths[0], 1)
        self.no_track = nn.Parameter(torch.zeros(unet.widths[0]))
        self.text = TextProjection(text_channels, unet.text)
        self.look = nn.Sequential(nn.Linear(LOOK, unet.embedding), nn.SiLU(), nn.Linear(unet.embedding, unet.embedding))
        self.no_look = nn.Parameter(torch.zeros(unet.embedding))

    def condition(
        self,
        image: Tensor,
        goal: Tensor,
        regions: Tensor,
        track: Tensor,
        tokens: Tensor,
        mask: Tensor,
        look: Tensor,
        *,
        has_goal: Tensor,
        has_regions: Tensor,
        has_track: Tensor,
        has_look: Tensor,
    ) -> Condition:
        """Gather what is known; ``has_…`` (B,) bool say what of it is to be used.

        Args:
            image, goal: (B, 3, 8h, 8w) in [-1, 1], pictures at half the model's image size.
            regions: (B, T, 2, 4h, 4w) in [-1, 1]: region of motion and region of change, frame by frame, or the same
                union over time at every frame.
            track: (B, T, `HAND_CHANNELS`, 4h, 4w) in [0, 1], hands as `hand_pictures` draws them.
            tokens, mask: (B, L, D), (B, L) bool, MiniLM token states.
            look: (B, 6) in [0, 1].
        """
        goal_there = has_goal[:, None, None, None]
        spatial = self.stem(torch.cat([image, torch.where(goal_there, goal, image)], dim=1))
        spatial = spatial + torch.where(goal_there, 0.0, self.no_goal[:, None, None])
        spatial = spatial.repeat_interleave(regions.shape[1], 0)
        spatial = spatial + _told(regions, self.regions, has_regions, self.no_regions)
        spatial = spatial + _told(track, self.track, has_track, self.no_track)
        text, text_mask = self.text(tokens, mask)
        vector = torch.where(has_look[:, None], self.look(look), self.no_look)
        return Condition(spatial, text, text_mask, vector)

    def forward(self, x: Tensor, noise: Tensor, condition: Condition, head: str) -> Tensor:
        """Noisy (B, T, C, h, w), noise level (B,) → velocity, noise minus data."""
        return self.unet(x, noise, condition, head)


def _told(maps: Tensor, layer: nn.Module, there: Tensor, nothing: Tensor) -> Tensor:
    """Features (B * T, C, h, w) of maps (B, T, M, 4h, 4w) where they are ``there`` (B,), else ``nothing`` (C,)."""
    features = layer(F.pixel_unshuffle(maps.flatten(0, 1), MASK_PATCH))
    return torch.where(there.repeat_interleave(maps.shape[1])[:, None, None, None], features, nothing[:, None, None])


def masks_to_latent(masks: Tensor) -> Tensor:
    """(..., 2, 4h, 4w) in [0, 1] → (..., 32, h, w) in [-1, 1]."""
    return F.pixel_unshuffle(2.0 * masks - 1.0, MASK_PATCH)


def latent_to_masks(latent: Tensor) -> Tensor:
    """The inverse of `masks_to_latent`, clamped to [0, 1]."""
    return (F.pixel_shuffle(latent, MASK_PATCH) / 2.0 + 0.5).clamp(0.0, 1.0)


def sharpened(masks: Tensor) -> Tensor:
    """Masks in [0, 1] as stage 1's are told to stage 2, without what is faint: over many frames that would add up."""
    return ((masks - 0.5) * 4 + 0.5).clamp(0.0, 1.0)
