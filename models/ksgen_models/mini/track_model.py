"""Where the hand will go: the hand track that is most to be expected of a step, before anything of it is drawn.

A person may do a step in many ways; half of what tells them apart is which hand is taken, and when. This network looks
at a step's two pictures and its sentence and answers for either hand: where its joints would be in every frame, when it
would be there, and how likely that hand is. Trained on absolute errors it answers with the middle of all ways, which
is nearer to them, on average, than they are to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ksgen_models.mini.config import TrackConfig
from ksgen_models.mini.layers import ImageStem, LookingLayer, waves, zeroed
from ksgen_models.types import HAND_KEYPOINTS

_SIDES = 2


@dataclass(frozen=True)
class ExpectedHands:
    """What is expected of the left and the right hand (H = 2) in B steps.

    Attributes:
        places: (B, 2, T, 21, 2), x and y normalised; only of use in frames in which the hand is there.
        there: (B, 2, T) logits, the hand is in the frame if it is the one that does the step.
        side: (B, 2) logits, it is.
    """

    places: Tensor
    there: Tensor
    side: Tensor

    def likeliest(self) -> Tensor:
        """(B, T, 2, 21, 2) keypoints of the likelier hand in the frames in which it is there, NaN elsewhere."""
        chosen = torch.zeros_like(self.side, dtype=torch.bool).scatter_(1, self.side.argmax(1, keepdim=True), True)
        shown = chosen[..., None] & (self.there > 0)  # (B, 2, T)
        return torch.where(shown[..., None, None], self.places, torch.nan).transpose(1, 2)


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
        self.joints = zeroed(nn.Linear(width, 2 * HAND_KEYPOINTS))
        self.there = nn.Linear(width, 1)
        self.side = nn.Linear(width, 1)

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
        places = 0.5 + self.joints(hands).float().unflatten(-1, (HAND_KEYPOINTS, 2))
        return ExpectedHands(places, self.there(hands)[..., 0].float(), self.side(hands.mean(2))[..., 0].float())
