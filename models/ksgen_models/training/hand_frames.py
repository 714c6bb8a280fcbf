"""The hand structure loss of stage 2 (IVG Eq. 2, 6): frames with hands, decoded where their estimate is no blur.

The generator draws latents. Its estimate of the clean ones goes through the frozen decoder, over the clip's own
key-step image, and through the frozen landmark network (`ksgen_models.hand_structure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksgen_models.demonstration import CLIP_FRAMES
from ksgen_models.hand_structure import HandStructureLoss
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.training.episodes import Episode

FRAMES = 1
"""Frames of a clip that are decoded: each costs more than half of what the clip does, and other clips say more."""
CLEAREST = 0.85
"""Noise level above which no frame is decoded: the estimate of a hand is a blur there. Below it all levels count the
same. A solver of few steps makes its last estimate, which is what is shown, at 0.62 (six steps) or 0.8 (three)."""
_JOINTS = 11  # of 21 inside the picture, or the hand structure loss leaves the hand out


@dataclass(frozen=True)
class HandFrames:
    """F frames of each of B clips.

    Attributes:
        times: (B, F) int64, which frames.
        context: (B, 3, H, W) in [-1, 1], the clips' key-step images.
        pictures: (B, F, 3, H, W) in [-1, 1], the true frames.
        keypoints: (B, F, 2, 21, 3) float32, x and y normalised, NaN where a hand is absent.
    """

    times: Tensor
    context: Tensor
    pictures: Tensor
    keypoints: Tensor


@dataclass(frozen=True)
class Footage:
    """The frames behind a cache's clips, still compressed.

    Attributes:
        episodes: those with clips, in the order of the cache.
        first_clip: (E + 1,) int64, the clips of episode e are ``first_clip[e]:first_clip[e + 1]``.
    """

    episodes: tuple[Episode, ...]
    first_clip: NDArray[np.int64]

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Footage:
        """Of all episodes that a cache was built from."""
        filmed = tuple(episode for episode in episodes if episode.has_clips)
        return cls(filmed, np.cumsum([0, *(episode.steps for episode in filmed)]))

    def hand_frames(self, clips: NDArray[np.int64], random: np.random.Generator, number: int = FRAMES) -> HandFrames:
        """``number`` frames of each clip, of those that show a hand if any does."""
        times, contexts, pictures, keypoints = [], [], [], []
        for clip in clips:
            place = int(np.searchsorted(self.first_clip, clip, side="right")) - 1
            episode, step = self.episodes[place], int(clip - self.first_clip[place])
            chosen = random.choice(_with_hand(episode.keypoints[step]), number)
            times.append(chosen)
            contexts.append(episode.image(step))
            pictures.append(np.stack([episode.frame(step, int(time)) for time in chosen]))
            keypoints.append(episode.keypoints[step, chosen])
        return HandFrames(
            torch.from_numpy(np.stack(times)),
            picture_tensor(torch.from_numpy(np.stack(contexts))),
            picture_tensor(torch.from_numpy(np.stack(pictures))),
            torch.from_numpy(np.stack(keypoints)),
        )


def _with_hand(keypoints: NDArray[np.float32]) -> NDArray[np.int64]:
    """The frames of a clip, from its keypoints (T, 2, 21, 3), in which enough of a hand is in the picture."""
    places = keypoints[..., :2]
    inside = ((places >= 0) & (places <= 1)).all(-1).sum(-1) >= _JOINTS  # False for NaN
    shown = np.flatnonzero(inside.any(1))
    return shown if len(shown) else np.arange(1, CLIP_FRAMES)


class HandTerm:
    """α times the hand structure loss of estimated clips.

    Args:
        autoencoder: its decoder is used, frozen.
        alpha: weight (IVG Eq. 6).
        judge: None loads the landmark network.

    Raises:
        WeightsMissing: the landmark network is not on this machine.
    """

    def __init__(self, autoencoder: Autoencoder, alpha: float, judge: HandStructureLoss | None = None) -> None:
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.alpha = alpha
        self.judge = judge or HandStructureLoss()

    def __call__(self, clean: Tensor, level: Tensor, frames: HandFrames) -> Tensor:
        """Mean over the clips; those seen at a level above `CLEAREST` count 0.

        Args:
            clean: (B, T, C, h, w) estimated normalised latents.
            level: (B,) noise levels in [0, 1] that they were estimated at.
            frames: of the same clips.
        """
        total = clean.sum() * 0.0
        for clip in torch.nonzero(level < CLEAREST)[:, 0]:
            latents = self.autoencoder.denormalise(clean[clip, frames.times[clip]])
            context = frames.context[clip : clip + 1]
            drawn = self.autoencoder.decode(latents, context).over(context)
            targets = self.judge.targets_from_pictures(frames.pictures[clip], frames.keypoints[clip])
            total = total + self.judge(drawn, targets).loss
        return self.alpha * total / len(clean)
