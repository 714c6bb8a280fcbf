"""The latent autoencoder: a picture becomes what differs from a context picture, at one sixteenth of its size.

Encoder and decoder both see the context (the key-step image of a clip, or the camera frame of a plan), so that the
latent need only carry what moved, and the decoder says for every pixel how much of it is new: what did not change
is taken from the context itself, however finely textured it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.config import AutoencoderConfig
from ksgen_models.mini.layers import ResidualBlock

PATCH = 8
FACTOR = 16
"""Height and width of the picture over those of the latent."""


@dataclass(frozen=True)
class Decoded:
    """Attributes: colour (N, 3, H, W) in [-1, 1]; opacity (N, 1, H, W) in [0, 1], how much of the pixel is new."""

    colour: Tensor
    opacity: Tensor

    def over(self, context: Tensor) -> Tensor:
        """Lay the new pixels over a context (N, 3, H, W) in [-1, 1]."""
        return context + self.opacity * (self.colour - context)


class Autoencoder(nn.Module):
    """Convolutional autoencoder with a context picture. Fully convolutional: any multiple of 16 for H and W."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        width, deep, blocks = config.width, config.deep_width, config.blocks
        self.encoder_patch = nn.Conv2d(2 * 3 * PATCH**2, width, 1)
        self.encoder_shallow = nn.ModuleList([ResidualBlock(width, width) for _ in range(blocks)])
        self.encoder_down = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.encoder_deep = nn.ModuleList([ResidualBlock(deep, deep) for _ in range(blocks)])
        self.to_latent = nn.Conv2d(deep, config.latent_channels, 1)

        self.context_patch = nn.Conv2d(3 * PATCH**2, width, 1)
        self.context_shallow = ResidualBlock(width, width)
        self.context_down = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.context_deep = ResidualBlock(deep, deep)

        self.from_latent = nn.Conv2d(config.latent_channels, deep, 3, padding=1)
        self.decoder_deep = nn.ModuleList([ResidualBlock(deep, deep) for _ in range(blocks)])
        self.decoder_up = nn.Conv2d(deep, 4 * width, 3, padding=1)
        self.decoder_shallow = nn.ModuleList([ResidualBlock(width, width) for _ in range(blocks)])
        fine = max(16, width // 2)
        self.fine_up = nn.Conv2d(width, 4 * fine, 3, padding=1)
        self.fine_context = nn.Conv2d(3 * (PATCH // 2) ** 2, fine, 1)
        self.fine_mix = nn.Conv2d(fine, fine, 3, padding=1)
        self.to_picture = nn.Conv2d(fine, 4 * (PATCH // 2) ** 2, 3, padding=1)

        # Per-channel statistics of the latents over the training set, so that the generators see unit variance.
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def encode(self, picture: Tensor, context: Tensor) -> Tensor:
        """(N, 3, H, W) twice, in [-1, 1] → raw latent (N, C, H/16, W/16)."""
        x = self.encoder_patch(F.pixel_unshuffle(torch.cat([picture - context, context], dim=1), PATCH))
        for block in self.encoder_shallow:
            x = block(x)
        x = self.encoder_down(x)
        for block in self.encoder_deep:
            x = block(x)
        return self.to_latent(x)

    def decode(self, latent: Tensor, context: Tensor) -> Decoded:
        """Raw latent (M*N, C, h, w) and context (N, 3, 16h, 16w) → what to lay over each context, M pictures each.

        The M pictures of one context are neighbours in the batch; the context is read only once.
        """
        repeats = len(latent) // len(context)
        shallow = self.context_shallow(self.context_patch(F.pixel_unshuffle(context, PATCH)))
        deep = self.context_deep(self.context_down(shallow))
        fine = self.fine_context(F.pixel_unshuffle(context, PATCH // 2))

        x = self.from_latent(latent) + deep.repeat_interleave(repeats, 0)
        for block in self.decoder_deep:
            x = block(x)
        x = F.pixel_shuffle(self.decoder_up(x), 2) + shallow.repeat_interleave(repeats, 0)
        for block in self.decoder_shallow:
            x = block(x)
        x = F.pixel_shuffle(self.fine_up(F.silu(x)), 2) + fine.repeat_interleave(repeats, 0)
        x = self.to_picture(F.silu(x + self.fine_mix(F.silu(x))))
        x = F.pixel_shuffle(x, PATCH // 2).float()
        # Of all four channels: of three of four in channels-last memory tanh takes thirty times as long.
        return Decoded(colour=x.tanh()[:, :3], opacity=x.sigmoid()[:, 3:])

    def normalise(self, latent: Tensor) -> Tensor:
        """Raw latent (..., C, h, w) → zero mean and unit variance a channel."""
        return (latent - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def denormalise(self, latent: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return latent * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
