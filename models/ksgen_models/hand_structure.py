"""The hand structure loss (IVG §3.2, Eq. 2 and 6), with a gradient that reaches the generator.

IVG compares the hand keypoints that a frozen detector finds in the generated and in the true video. MediaPipe's
detector passes no gradient, so its landmark network runs here as a PyTorch module on crops around the true hands.

Eq. 2 sets the coordinates of joints that the detector does not find in the generated video to 0: a hand that the
network does not see (presence p below 0.5) costs ‖P_true‖² here too. That cost has no slope, so a presence term −log p,
with a small weight, pulls the hand back into view. Coordinates are those of the crop, with the origin in its corner,
and are measured in palm lengths (wrist to middle finger root of the true hand): neither the size of a picture nor the
place of a hand in it matters.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.errors import InvalidInput
from ksgen_models.hands.crop import HandSquare, crop_hands, hand_squares
from ksgen_models.hands.landmark_network import CROP_SIZE, LandmarkNetwork, load_landmark_network
from ksgen_models.types import HAND_KEYPOINTS

PRESENCE_WEIGHT = 0.1
"""Weight of −log p against squared palm lengths."""
_LEAST_INSIDE = 11  # a hand counts when at least so many of its 21 keypoints are inside the picture
_LEAST_PALM = 0.15  # a palm seen end on is taken to be at least so long, in sides of the crop
_SEEN = 0.5  # presence from which the network is said to see a hand


@dataclass(frozen=True)
class HandTargets:
    """Where M true hands are.

    Attributes:
        pictures: number of pictures N that they lie in, and the height and width of these.
        which: (M,) int64, the picture of each hand.
        squares: the M squares that are cropped.
        keypoints: (M, 21, 2) in crop pixels.
        counted: (M, 21) float, 1 where a joint counts, 0 where it is outside the picture.
        palm: (M,) palm lengths in crop pixels.
    """

    pictures: tuple[int, int, int]
    which: Tensor
    squares: HandSquare
    keypoints: Tensor
    counted: Tensor
    palm: Tensor

    def __len__(self) -> int:
        return len(self.which)


@dataclass(frozen=True)
class HandStructure:
    """The loss, and what it is made of.

    Attributes:
        loss: scalar, mean over the hands; 0 (with a gradient of 0) where there is none.
        error: (M,) mean square error of each hand's joints in squared palm lengths, whether or not the hand is seen.
        presence: (M,) probability that the network sees a hand in each crop.
    """

    loss: Tensor
    error: Tensor
    presence: Tensor


class HandStructureLoss(nn.Module):
    """How far the hands in generated pictures are from the true ones, for MediaPipe's landmark network.

    The network is frozen. Keep this module beside the generator and not inside it, or its weights are saved with the
    generator's. It runs under autocast, and in any precision that `torch.nn.Module.to` gives it.
    """

    def __init__(
        self, bundle: str | os.PathLike[str] | None = None, *, presence_weight: float = PRESENCE_WEIGHT
    ) -> None:
        """Load the landmark network.

        Args:
            bundle: a hand landmarker's ``.task`` file of one's own; None takes the pinned asset.
            presence_weight: weight of −log p.

        Raises:
            WeightsMissing: the asset is not on this machine.
            AssetError: it cannot be read.
        """
        super().__init__()
        self.network: LandmarkNetwork = load_landmark_network(bundle)
        self.presence_weight = presence_weight

    def forward(self, pictures: Tensor, targets: HandTargets | Tensor) -> HandStructure:
        """Compare generated pictures with the true hands.

        Args:
            pictures: (N, 3, H, W) RGB in [-1, 1].
            targets: from `targets_from_keypoints` or, closer to the paper, `targets_from_pictures`; or true keypoints
                (N, 2, 21, 2 or more), as the former takes them.

        Raises:
            InvalidInput: the pictures are not those that the targets were made for.
        """
        if isinstance(targets, Tensor):
            targets = targets_from_keypoints(targets, *_picture_size(pictures)[1:])
        if _picture_size(pictures) != targets.pictures:
            raise InvalidInput(
                f"the targets were made for pictures of (N, H, W) = {targets.pictures}, not {_picture_size(pictures)}"
            )
        if not len(targets):
            return HandStructure(pictures.sum() * 0, pictures.new_zeros(0), pictures.new_zeros(0))
        seen = self.network(_crops(self.network, pictures, targets))
        error = _squared_error(seen.keypoints[..., :2], targets)
        missing = _squared_error(torch.zeros_like(targets.keypoints), targets)
        presence = seen.presence.sigmoid()
        cost = torch.where(presence >= _SEEN, error, missing) + self.presence_weight * F.softplus(-seen.presence)
        return HandStructure(cost.mean(), error.detach(), presence.detach())

    @torch.no_grad()
    def targets_from_pictures(self, pictures: Tensor, keypoints: Tensor) -> HandTargets:
        """What the network sees in the true pictures, as in Eq. 2; hands that it does not see there are left out.

        The network has its own idea of where a joint is. A target of the same idea does not ask the generator to make
        up for the difference.

        Args:
            pictures: (N, 3, H, W) true pictures, RGB in [-1, 1].
            keypoints: (N, 2, 21, 2 or more) true keypoints, which say where to look; NaN where a hand is absent.
        """
        targets = targets_from_keypoints(keypoints, *_picture_size(pictures)[1:])
        if not len(targets):
            return targets
        seen = self.network(_crops(self.network, pictures, targets))
        found = seen.presence.sigmoid() >= _SEEN
        squares = targets.squares
        return HandTargets(
            targets.pictures,
            targets.which[found],
            HandSquare(squares.centre[found], squares.side[found], squares.rotation[found]),
            seen.keypoints[found, :, :2],
            targets.counted[found],
            targets.palm[found],
        )


def targets_from_keypoints(keypoints: Tensor, height: int, width: int) -> HandTargets:
    """The true keypoints themselves as targets.

    Joints outside the picture do not count, and a hand with fewer than 11 joints inside is left out.

    Args:
        keypoints: (N, 2, 21, 2 or more), x and y normalised to the picture; NaN where a hand is absent.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.

    Raises:
        InvalidInput: the keypoints have another shape.
    """
    if keypoints.ndim != 4 or keypoints.shape[2] != HAND_KEYPOINTS or keypoints.shape[3] < 2:
        raise InvalidInput(f"keypoints must be (N, hands, {HAND_KEYPOINTS}, 2 or more), not {tuple(keypoints.shape)}")
    places = keypoints.detach()[..., :2]
    places = places if places.dtype == torch.float64 else places.float()
    inside = ((places >= 0) & (places <= 1)).all(-1)  # (N, 2, 21); False for NaN
    there = places.isfinite().all((-1, -2)) & (inside.sum(-1) >= _LEAST_INSIDE)
    which = there.nonzero()[:, 0]
    places, counted = places[there], inside[there].to(places.dtype)
    squares = hand_squares(places, height, width)
    points = squares.to_crop(places * places.new_tensor([width, height]))
    palm = (points[:, 9] - points[:, 0]).norm(dim=-1).clamp(min=_LEAST_PALM * CROP_SIZE)
    return HandTargets((len(keypoints), height, width), which, squares, points, counted, palm)


def _crops(network: LandmarkNetwork, pictures: Tensor, targets: HandTargets) -> Tensor:
    scaled = (pictures.to(network.presence.weight.dtype) + 1) / 2
    return crop_hands(scaled, targets.which, targets.squares)


def _squared_error(points: Tensor, targets: HandTargets) -> Tensor:
    """Mean over the counted joints of the squared distance of (M, 21, 2) crop pixels, in squared palm lengths."""
    squared = (points - targets.keypoints).square().sum(-1) * targets.counted
    return squared.sum(-1) / targets.counted.sum(-1) / targets.palm.square()


def _picture_size(pictures: Tensor) -> tuple[int, int, int]:
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise InvalidInput(f"pictures must be (N, 3, H, W), not {tuple(pictures.shape)}")
    return pictures.shape[0], pictures.shape[2], pictures.shape[3]
