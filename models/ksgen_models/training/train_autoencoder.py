"""Training of the latent autoencoder on crops around what changed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.demonstration import CLIP_FRAMES
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.training.episodes import Episode

KEY_STEP_SHARE = 0.15
"""Share of pairs (camera frame, key-step image); the rest are (key-step image, clip frame)."""
HAND_SHARE = 0.6
"""Share of the crops of clip frames that are cut around a hand; fingers are what is hardest to keep."""
CHANGED = 12
"""A pixel counts as changed when a channel differs by more than this, of 255."""


def make_pairs(
    episodes: list[Episode], crop: int, random: np.random.Generator, number: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(N, crop, crop, 3) pictures and their contexts, cut around something that changed."""
    pictures, contexts = zip(*(_crop_pair(episodes, crop, random) for _ in range(number)), strict=True)
    return np.stack(pictures), np.stack(contexts)


def autoencoder_losses(
    model: nn.Module, batch: tuple[NDArray[np.uint8], NDArray[np.uint8]], noise: torch.Generator
) -> dict[str, Tensor]:
    """L1 and gradient errors weighted towards what changed, errors of tone, and a weak pull of the latents to 1."""
    assert isinstance(model, Autoencoder)
    picture, context = (picture_tensor(torch.from_numpy(array)) for array in batch)
    changed = ((picture - context).abs().amax(1, keepdim=True) > 2 * CHANGED / 255).float()
    changed = F.max_pool2d(changed, 5, stride=1, padding=2)
    weight = 0.2 + changed

    latent = model.encode(picture, context).float()
    scale = latent.square().mean()
    # A little noise makes neighbouring latents mean neighbouring pictures: the generators' errors then look mild.
    noisy = latent + 0.1 * torch.randn(latent.shape, generator=noise)
    decoded = model.decode(noisy, context)
    drawn = decoded.over(context)
    error = (weight * (drawn - picture).abs()).mean()
    edges = _edge_error(drawn, picture, weight)
    # Absolute errors are slow to learn rare colours; squared errors of small patches' means see them at once.
    tone = F.avg_pool2d(drawn - picture, 8).square().mean()
    # What did not change must come from the context, and what did must not be smeared over it.
    opacity = (decoded.opacity * (1 - changed)).mean()
    squared = ((drawn - picture).square().mean(1, keepdim=True) * changed).sum() / changed.sum().clamp(min=1)
    return {
        "loss": error + edges + 2.0 * tone + 0.05 * opacity + 1e-3 * (scale - 1).square(),
        "psnr_changed": 10 * torch.log10(4.0 / squared.detach()),
        "opacity": opacity.detach(),
        "scale": scale.detach(),
    }


@torch.no_grad()
def set_statistics(model: Autoencoder, latents: Tensor) -> None:
    """Take the latents' mean and deviation a channel from (N, C, h, w) raw latents."""
    model.latent_mean.copy_(latents.mean((0, 2, 3)))
    model.latent_std.copy_(latents.std((0, 2, 3)))


def _edge_error(drawn: Tensor, picture: Tensor, weight: Tensor) -> Tensor:
    difference = drawn - picture
    across = (weight[..., 1:] * (difference[..., 1:] - difference[..., :-1]).abs()).mean()
    down = (weight[..., 1:, :] * (difference[..., 1:, :] - difference[..., :-1, :]).abs()).mean()
    return across + down


def _crop_pair(
    episodes: list[Episode], size: int, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    episode = episodes[random.integers(len(episodes))]
    hands = np.empty((0, 2))
    if random.random() < KEY_STEP_SHARE:
        picture, context = episode.image(int(random.integers(1, episode.steps + 1))), episode.image(0)
    else:
        step, time = int(random.integers(episode.steps)), int(random.integers(1, CLIP_FRAMES))
        picture, context = episode.frame(step, time), episode.image(step)
        points = episode.keypoints[step, time, ..., :2].reshape(-1, 2)
        hands = points[((points >= 0) & (points < 1)).all(-1)]
    height, width = picture.shape[:2]
    if len(hands) and random.random() < HAND_SHARE:
        middle = hands[random.integers(len(hands)), ::-1] * [height, width]
    else:
        middle = _changed_place(picture, context, random)
    middle = middle + random.integers(-size // 3, size // 3 + 1, 2)
    top = int(np.clip(middle[0] - size // 2, 0, height - size))
    left = int(np.clip(middle[1] - size // 2, 0, width - size))
    cut = np.s_[top : top + size, left : left + size]
    return picture[cut], context[cut]


def _changed_place(
    picture: NDArray[np.uint8], context: NDArray[np.uint8], random: np.random.Generator
) -> NDArray[np.float64]:
    """(2,) row and column of a pixel that changed, or of any pixel if none did."""
    different = np.abs(picture[::4, ::4].astype(np.int16) - context[::4, ::4]).max(-1) > CHANGED
    places = np.argwhere(different)
    if not len(places):
        return random.uniform(0, picture.shape[:2])
    return places[random.integers(len(places))] * 4.0
