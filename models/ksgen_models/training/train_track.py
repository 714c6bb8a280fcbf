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

from ksgen_models.metrics.hands import MOST_JOINTS
from ksgen_models.metrics.time_warping import cheapest_ways
from ksgen_models.mini.geometry import halve
from ksgen_models.mini.track_model import MANNERS, TrackModel
from ksgen_models.training.episodes import Episode
from ksgen_models.training.fit import Losses

ALIGNED, PLACE, SHAPE = 4.0, 5.0, 5.0
"""Weights of the error after time alignment, in palm lengths, of that of the joints frame by frame, in shares of the
picture, and of the same with the wrists laid on each other."""
_OTHERS = 0.05
"""Share of the ways from which another manner than the nearest learns."""
_FAR = 0.5
"""Joints farther outside the picture than this share of it count as lying there."""
_LEAST_PALM = 0.03
"""Share of the picture that a palm counts as at least, however it is turned."""
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
        light = torch.from_numpy(random.uniform(0.8, 1.2, (number, 3, 1, 1))).float()
        image, goal = (
            _mirrored(_disturbed(self.pictures[self.picture[chosen] + k], light, random), mirrored) for k in (0, 1)
        )
        text = torch.from_numpy(self.text[chosen, mirrored.long().numpy()])
        return TrackBatch(
            image=image,
            goal=goal,
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
    """Errors of the manner that is nearest to the true way, after time alignment and frame by frame; cross-entropies of
    when the hand is there and of which hand and manner it is.

    One time in twenty another manner than the nearest learns from a way, so that none is left behind.
    """
    assert isinstance(model, TrackModel)
    said = model(batch.image, batch.goal, batch.tokens, batch.mask)
    acting = torch.isfinite(batch.keypoints).all(-1).all(-1).any(-1)  # (B, 2), one of the two hands
    step, side = acting.nonzero(as_tuple=True)
    true = batch.keypoints[step, side]
    there = torch.isfinite(true).all(-1).all(-1)  # (B, T)
    true = true.nan_to_num(0.5).clamp(-_FAR, 1 + _FAR)
    seen = there & (((true >= 0) & (true <= 1)).all(-1).sum(-1) >= MOST_JOINTS)
    seen = torch.where(seen.any(1, keepdim=True), seen, there)
    manners = said.places[step, side]  # (N, MANNERS, T, 21, 2)
    with torch.no_grad():
        far = aligned_error(manners.flatten(0, 1), *(it.repeat_interleave(MANNERS, 0) for it in (true, seen)))
        nearest = far.unflatten(0, (-1, MANNERS)).argmin(1)
    other = torch.randint(MANNERS, nearest.shape, generator=noise)
    taken = torch.where(torch.rand(nearest.shape, generator=noise) < _OTHERS, other, nearest)
    places = manners[torch.arange(len(taken)), taken]
    aligned = aligned_error(places, true, seen).mean()
    place = (places - true).abs()[there].mean()
    shape = ((places - places[..., :1, :]) - (true - true[..., :1, :])).abs()[there].mean()
    when = F.binary_cross_entropy_with_logits(said.there[step, side], there.float())
    which = F.cross_entropy(said.likely.flatten(1)[step], side * MANNERS + nearest)
    loss = ALIGNED * aligned + PLACE * place + SHAPE * shape + when + which
    parts = {"aligned": aligned, "place": place, "shape": shape, "when": when, "which": which}
    parts["side"] = F.cross_entropy(said.likely.logsumexp(2)[step], side)
    return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


def aligned_error(said: Tensor, true: Tensor, there: Tensor) -> Tensor:
    """(N,) errors of hands after time alignment, in palm lengths, as in `ksgen_models.metrics.aligned_keypoint_error`.

    Where each way has its own timing, the middle of all ways frame by frame is of none; the middle of those that are
    laid over each other is a way to do it. The pairs are chosen without a gradient, their distances have one.

    Args:
        said, true: (N, T, 21, 2), normalised to the picture.
        there: (N, T) bool, frames that count, of both; at least one of each hand.
    """
    order = there.logical_not().sort(dim=1, stable=True).indices  # the frames that count first, in their order
    said, true = (hand.gather(1, order[..., None, None].expand_as(hand)) for hand in (said, true))
    palm = (true[..., 9, :] - true[..., 0, :]).norm(dim=-1).clamp_min(_LEAST_PALM)
    squares = (said[:, :, None] - true[:, None]).square().sum(-1).mean(-1)
    distances = (squares + 1e-8).sqrt() / palm[:, None]  # (N, T said, T true)
    frames = there.sum(1).numpy()
    pairs = torch.from_numpy(cheapest_ways(distances.detach().float().numpy(), frames, frames))
    return (distances * pairs).sum((1, 2)) / pairs.sum((1, 2))


def _mirrored(pictures: Tensor, mirrored: Tensor) -> Tensor:
    """Pictures (B, 3, h, w), changed in place: those in a mirror of which ``mirrored`` (B,) is true."""
    pictures[mirrored] = pictures[mirrored].flip(-1)
    return pictures


def _mirrored_hands(keypoints: Tensor, mirrored: Tensor) -> Tensor:
    """Likewise keypoints (B, 2, T, 21, 2): a left hand is a right hand there."""
    other = keypoints.flip(1) * keypoints.new_tensor([-1, 1]) + keypoints.new_tensor([1, 0])
    return torch.where(mirrored[:, None, None, None, None], other, keypoints)


def _disturbed(pictures: NDArray[np.uint8], light: Tensor, random: np.random.Generator) -> Tensor:
    """(B, h, w, 3) → (B, 3, h, w) in [-1, 1], some blurred, as goal images of the KIG are, in light (B, 3, 1, 1), and
    with a little noise."""
    import cv2

    for index in np.flatnonzero(random.random(len(pictures)) < 0.3):
        pictures[index] = cv2.blur(pictures[index], (3, 3))
    scale = torch.from_numpy(random.uniform(0, 0.04, (len(pictures), 1, 1, 1))).float()
    # One picture of noise for all of a batch: to draw one for each takes as long as the model's step.
    noise = torch.from_numpy(random.standard_normal(pictures.shape[1:], np.float32)).movedim(-1, 0)
    lit = torch.from_numpy(pictures).movedim(-1, 1).float().mul_(light / 127.5).sub_(1).clamp_(-1, 1)
    return lit.addcmul_(noise, scale)
