"""Training of the track model: where the hand will be in each frame, when, and which hand it is.

Half of what is drawn is seen in a mirror: a person with the other hand would do the mirrored step so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.mini.geometry import halve
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.training.episodes import Episode
from ksgen_models.training.fit import Losses

PLACE, SHAPE = 20.0, 20.0
"""Weights of the joints' distances, in shares of the picture, and of the same with the wrists laid on each other."""
_FAR = 0.5
"""Joints farther outside the picture than this share of it count as lying there."""
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class TrackBatch:
    """Attributes: as the arguments of `TrackModel.forward`; ``keypoints`` (B, 2, T, 21, 2), NaN where absent."""

    image: Tensor
    goal: Tensor
    tokens: Tensor
    mask: Tensor
    keypoints: Tensor


@dataclass(frozen=True)
class TrackBatches:
    """Draws ways to do a step, of demonstrations and stills, as they are and in a mirror, in light of any colour.

    Attributes:
        pictures: (P, s/2, s/2, 3) uint8, all key-step and goal images at half the model's size.
        keypoints: (M, 2, T, 21, 2) float32.
        picture: (M,) int64, where in ``pictures`` the way's key-step image is; its goal comes next.
        text: (M, 2) int64 into the sentences: of the step as it is and in a mirror.
        tokens, mask: (V, L, D) float16 and (V, L) bool, MiniLM token states of the sentences.
    """

    pictures: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    picture: NDArray[np.int64]
    text: NDArray[np.int64]
    tokens: Tensor
    mask: Tensor

    def __call__(self, random: np.random.Generator, number: int) -> TrackBatch:
        """``number`` ways."""
        chosen = random.integers(len(self.picture), size=number)
        mirrored = torch.from_numpy(random.random(number) < 0.5)
        images, goals = (
            _mirrored(picture_tensor(torch.from_numpy(self.pictures[self.picture[chosen] + k])), mirrored)
            for k in (0, 1)
        )
        light = torch.from_numpy(random.uniform(0.8, 1.2, (number, 3, 1, 1))).float()
        text = torch.from_numpy(self.text[chosen, mirrored.long().numpy()])
        return TrackBatch(
            image=_disturbed(images, light, random),
            goal=_disturbed(goals, light, random),
            tokens=self.tokens[text].float(),
            mask=self.mask[text],
            keypoints=_mirrored_hands(torch.from_numpy(self.keypoints[chosen]), mirrored),
        )


def track_batches(episodes: Sequence[Episode]) -> TrackBatches:
    """All ways that episodes hold."""
    from ksgen_models.training.mini import sentence_states

    texts: dict[str, int] = {}
    pictures, keypoints, picture, text = [], [], [], []
    for episode in episodes:
        for step, description in enumerate(episode.descriptions):
            ways = [*([episode.keypoints[step]] if episode.has_clips else []), *episode.ways[step]]
            keypoints += [way[..., :2].swapaxes(0, 1) for way in ways]
            picture += [len(pictures) + step] * len(ways)
            said = [texts.setdefault(words, len(texts)) for words in (description, in_mirror(description))]
            text += [said] * len(ways)
        pictures += [halve(episode.image(index)) for index in range(episode.steps + 1)]
    return TrackBatches(
        np.stack(pictures),
        np.stack(keypoints).astype(np.float32),
        np.array(picture),
        np.array(text),
        *sentence_states(tuple(texts)),
    )


def in_mirror(sentence: str) -> str:
    """The sentence with left and right exchanged."""
    return re.sub(r"\b(left|right)\b", lambda word: _OTHER_SIDE[word[0]], sentence)


def track_losses(model: nn.Module, batch: TrackBatch, noise: torch.Generator) -> Losses:
    """Absolute errors of the joints and of the hand's shape, cross-entropy of when it is there and which it is."""
    assert isinstance(model, TrackModel)
    said = model(batch.image, batch.goal, batch.tokens, batch.mask)
    there = torch.isfinite(batch.keypoints).all(-1).all(-1)  # (B, 2, T)
    true = batch.keypoints.nan_to_num(0.5).clamp(-_FAR, 1 + _FAR)
    place = (said.places - true).abs()[there].mean()
    shape = ((said.places - said.places[..., :1, :]) - (true - true[..., :1, :])).abs()[there].mean()
    acting = there.any(-1)  # (B, 2)
    when = F.binary_cross_entropy_with_logits(said.there, there.float(), reduction="none")[acting].mean()
    side = F.cross_entropy(said.side, acting.float().argmax(1))
    loss = PLACE * place + SHAPE * shape + when + side
    parts = {"place": place, "shape": shape, "when": when, "side": side}
    return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


def _mirrored(pictures: Tensor, mirrored: Tensor) -> Tensor:
    """Pictures (B, 3, h, w), those in a mirror of which ``mirrored`` (B,) is true."""
    return torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)


def _mirrored_hands(keypoints: Tensor, mirrored: Tensor) -> Tensor:
    """Likewise keypoints (B, 2, T, 21, 2): a left hand is a right hand there."""
    other = keypoints.flip(1) * keypoints.new_tensor([-1, 1]) + keypoints.new_tensor([1, 0])
    return torch.where(mirrored[:, None, None, None, None], other, keypoints)


def _disturbed(pictures: Tensor, light: Tensor, random: np.random.Generator) -> Tensor:
    """Pictures (B, 3, h, w) in other light, with a little noise, some blurred: the KIG's goal images are not sharp."""
    pictures = ((pictures + 1) * light - 1).clamp(-1, 1)
    blurred = F.avg_pool2d(pictures, 3, stride=1, padding=1, count_include_pad=False)
    some = torch.from_numpy(random.random((len(pictures), 1, 1, 1)) < 0.3)
    scale = torch.from_numpy(random.uniform(0, 0.04, (len(pictures), 1, 1, 1))).float()
    noise = torch.from_numpy(random.standard_normal(pictures.shape, np.float32))
    return torch.where(some, blurred, pictures) + scale * noise
