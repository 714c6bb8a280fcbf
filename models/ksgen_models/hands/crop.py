"""MediaPipe's own crop of a hand, in PyTorch: a turned square around its keypoints, cut out by grid sampling.

The geometry is that of MediaPipe's hand landmarker when it follows a hand (``HandLandmarksToRectCalculator`` over
wrist, finger roots and first joints, then ``RectTransformationCalculator``): the line from the wrist to the finger
roots points up in the crop, and the bounding square is moved by a tenth towards the fingers and doubled. Crop pixel
(0, 0) is the picture's pixel at the square's corner and what lies outside a picture repeats its edge, as in MediaPipe's
OpenCV path: the network's answer moves by a pixel or two when the crop moves by half of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ksgen_models.hands.landmark_network import CROP_SIZE

_CORE = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)  # wrist, thumb without its tip, roots and first joints
_WRIST, _INDEX_ROOT, _MIDDLE_ROOT, _RING_ROOT = 0, 5, 9, 13
_SCALE = 2.0
_SHIFT = -0.1
_Z_UNIT = 0.4  # MediaPipe divides the network's z by this


@dataclass(frozen=True)
class HandSquare:
    """N turned squares, in pixels of their pictures.

    Attributes:
        centre: (N, 2), x and y.
        side: (N,).
        rotation: (N,) radians, clockwise as seen; 0 where the fingers point up.
    """

    centre: Tensor
    side: Tensor
    rotation: Tensor

    def to_picture(self, points: Tensor) -> Tensor:
        """Crop pixels (N, K, 2) to picture pixels."""
        scale = (self.side / CROP_SIZE)[:, None, None]
        return self.centre[:, None] + (points - CROP_SIZE / 2) * scale @ self._turn().transpose(1, 2)

    def to_crop(self, points: Tensor) -> Tensor:
        """Picture pixels (N, K, 2) to crop pixels."""
        scale = (CROP_SIZE / self.side)[:, None, None]
        return CROP_SIZE / 2 + (points - self.centre[:, None]) * scale @ self._turn()

    def turn_to_picture(self, vectors: Tensor) -> Tensor:
        """Turn vectors (N, K, 2) as the squares are turned."""
        return vectors @ self._turn().transpose(1, 2)

    def _turn(self) -> Tensor:
        cos, sin = self.rotation.cos(), self.rotation.sin()
        return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)  # (N, 2, 2)


def hand_squares(keypoints: Tensor, height: int, width: int) -> HandSquare:
    """The squares that MediaPipe would look at for hands seen at these places.

    Args:
        keypoints: (N, 21, 2 or more), x and y normalised to the picture.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
    """
    points = keypoints[..., :2] * keypoints.new_tensor([width, height])
    roots = (points[:, _INDEX_ROOT] + points[:, _RING_ROOT]) / 4 + points[:, _MIDDLE_ROOT] / 2
    along = roots - points[:, _WRIST]
    rotation = torch.atan2(along[:, 0], -along[:, 1])
    upright = HandSquare(points.new_zeros(len(points), 2), points.new_full((len(points),), CROP_SIZE), rotation)
    core = points[:, list(_CORE)]
    middle = (core.amax(1) + core.amin(1)) / 2
    seen = upright.to_crop(core - middle[:, None]) - CROP_SIZE / 2  # turned upright, about the middle
    low, high = seen.amin(1), seen.amax(1)
    size = high - low
    offset = (low + high) / 2 + torch.stack([torch.zeros_like(rotation), _SHIFT * size[:, 1]], -1)
    centre = middle + upright.turn_to_picture(offset[:, None])[:, 0]
    return HandSquare(centre, (_SCALE * size.amax(1)).clamp(min=1.0), rotation)


def crop_hands(pictures: Tensor, which: Tensor, squares: HandSquare) -> Tensor:
    """Cut out the squares, bilinearly; differentiable in the pictures.

    Args:
        pictures: (B, 3, H, W).
        which: (N,) int64, the picture of each square.
        squares: N squares.

    Returns:
        (N, 3, 224, 224), laid out for convolution (channels last).
    """
    height, width = pictures.shape[-2:]
    steps = torch.arange(CROP_SIZE, device=pictures.device, dtype=squares.side.dtype)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 2)  # (1, 224², 2), x and y
    places = squares.to_picture(grid.expand(len(which), -1, -1))
    places = (2 * (places + 0.5) / places.new_tensor([width, height]) - 1).to(pictures.dtype)
    places = places.reshape(-1, CROP_SIZE, CROP_SIZE, 2)
    crops = F.grid_sample(pictures[which], places, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.contiguous(memory_format=torch.channels_last)


def normalised_keypoints(keypoints: Tensor, squares: HandSquare, height: int, width: int) -> Tensor:
    """The network's keypoints (N, 21, 3) in crop pixels to (N, 21, 3) as `HandTrack` has them."""
    place = squares.to_picture(keypoints[..., :2]) / keypoints.new_tensor([width, height])
    depth = keypoints[..., 2:] * (squares.side / (CROP_SIZE * _Z_UNIT * width))[:, None, None]
    return torch.cat([place, depth], -1)


def turned_world(world: Tensor, squares: HandSquare) -> Tensor:
    """The network's world keypoints (N, 21, 3) turned back as the picture is."""
    return torch.cat([squares.turn_to_picture(world[..., :2]), world[..., 2:]], -1)
