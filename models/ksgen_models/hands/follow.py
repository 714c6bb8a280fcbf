"""One step of following hands, for many hands and frames at once: crop, landmark network, keypoints in the picture.

This is the part of MediaPipe's hand landmarker that runs in each frame while a hand is followed, without its graph:
one call serves any number of hands in any number of frames. `ksgen_export.onnx` writes it as an ONNX model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ksgen_models.hands.crop import crop_hands, hand_squares, normalised_keypoints, turned_world
from ksgen_models.hands.landmark_network import LandmarkNetwork


class FollowStep(nn.Module):
    """Finds hands again near where they were."""

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor, which: Tensor, before: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Look around where each hand was.

        Args:
            frames: (B, H, W, 3) uint8 RGB.
            which: (N,) int64, the frame to look for each hand in.
            before: (N, 21, 2 or more) float32, x and y normalised to the frame: where it was, or is thought to be.

        Returns:
            keypoints (N, 21, 3) and world (N, 21, 3) float32, as `HandTrack` has them; presence (N,), the probability
            that there is a hand, and right (N,), that it is the person's right hand.
        """
        height, width = frames.shape[1], frames.shape[2]
        squares = hand_squares(before, height, width)
        pictures = frames.permute(0, 3, 1, 2).to(torch.float32) / 255
        seen = self.network(crop_hands(pictures, which, squares))
        keypoints = normalised_keypoints(seen.keypoints, squares, height, width)
        return keypoints, turned_world(seen.world, squares), seen.presence.sigmoid(), seen.right.sigmoid()
