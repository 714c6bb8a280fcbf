"""Where the hand will go: the hand track that is most to be expected of a step, before anything of it is drawn.

A person may do a step in many ways; what tells them apart is which hand is taken, from which side it comes, and when.
This network looks at a step's two pictures and its sentence and answers for either hand with a few manners to do it:
where the joints would be in every frame, and how likely that is; and when the hand would be there. A manner is the
middle of the ways that are most like it, and so nearer to them, on average, than they are to each other; the middle of
all would be a hand between two ways to hold, which is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ksgen_models.mini.config import TrackConfig
from ksgen_models.mini.layers import ImageStem, LookingLayer, waves
from ksgen_models.types import HAND_KEYPOINTS

MANNERS = 3
_SIDES = 2


@dataclass(frozen=True)
class ExpectedHands:
    """What is expected of the left and the right hand (H = 2) in B steps.

    Attributes:
        places: (B, 2, `MANNERS`, T, 21, 2), x and y normalised; only of use in frames in which the hand is there.
        there: (B, 2, T) logits, the hand is in the frame if it is the one that does the step.
        likely: (B, 2, `MANNERS`) logits, the step is done by this hand in this manner: their softmax over both.
    """

    places: Tensor
    there: Tensor
    likely: Tensor

    def track(self) -> Tensor:
        """(B, T, 2, 21, 2) keypoints of the likelier hand, NaN in frames without it.

        Of its manners it is the one with the least error to be expected: from which all of them are least far, weighed
        by how likely they are (minimum Bayes risk).
        """
        side = self.likely.logsumexp(2).argmax(1)
        steps = torch.arange(len(side))
        places, there = self.places[steps, side], self.there[steps, side] > 0  # (B, MANNERS, T, 21, 2), (B, T)
        apart = (places[:, :, None] - places[:, None]).square().sum(-1).mean(-1).sqrt()
        apart = (apart * there[:, None, None]).sum(-1)  # (B, MANNERS, MANNERS)
        risks = (apart * self.likely[steps, side].softmax(1)[:, None]).sum(2)
        chosen = places[steps, risks.argmin(1)]
        tracks = torch.full_like(self.places[:, :, 0], torch.nan).transpose(1, 2)  # (B, T, 2, 21, 2)
        tracks[steps, :, side] = torch.where(there[..., None, None], chosen, torch.nan)
        return tracks


class TrackModel(nn.Module):
    """One token for each hand in each frame; layer by layer they look at each other, the pictures and the sentence.

    Args:
        config: sizes.
        frames: T, of a clip.
        text_channels: length of a MiniLM token state.
    """

    def __init__(self, config: TrackConfig, frames: int, text_channels: int = 384) -> None:
        super().__init__()
        width = config.width
        self.stem = ImageStem(6, width)
        self.place = nn.Linear(waves(1, 1).shape[1], width)
        self.text = nn.Linear(text_channels, width)
        self.hands = nn.Parameter(0.2 * torch.randn(_SIDES, 1, width))
        self.times = nn.Parameter(0.2 * torch.randn(frames, width))
        self.layers = nn.ModuleList([LookingLayer(width, width // config.heads) for _ in range(config.layers)])
        self.seen = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.joints = nn.Linear(width, MANNERS * 2 * HAND_KEYPOINTS)
        self.there = nn.Linear(width, 1)
        self.likely = nn.Linear(width, MANNERS)

    def forward(self, image: Tensor, goal: Tensor, tokens: Tensor, mask: Tensor) -> ExpectedHands:
        """What is expected of B steps.

        Args:
            image, goal: (B, 3, 8h, 8w) in [-1, 1], pictures before and after the step at half the model's image size.
            tokens, mask: (B, L, D), (B, L) bool, MiniLM token states of its sentence.
        """
        b, frames = len(image), len(self.times)
        cells = self.stem(torch.cat([image, goal], dim=1))
        height, width = cells.shape[-2:]
        cells = cells.flatten(2).transpose(1, 2) + self.place(waves(height, width).to(cells.dtype))
        hands = (self.hands + self.times).flatten(0, 1).expand(b, -1, -1)
        seen = self.seen(torch.cat([cells, self.text(tokens)], dim=1))
        known = torch.cat([mask.new_ones(b, hands.shape[1] + cells.shape[1]), mask], dim=1)
        for layer in self.layers:
            hands = layer(hands, seen, known)
        hands = self.norm(hands).unflatten(1, (_SIDES, frames))
        places = 0.5 + self.joints(hands).float().unflatten(-1, (MANNERS, HAND_KEYPOINTS, 2)).transpose(2, 3)
        return ExpectedHands(places, self.there(hands)[..., 0].float(), self.likely(hands.mean(2)).float())
