"""Scene cuts by TransNetV2 (Souček & Lokoč, 2020): finds fades and dissolves, which histograms miss.

The network is written down here in PyTorch after the paper; the parameters are the authors' own, pinned as the asset
``transnetv2``. It looks at 100 thumbnails of 48 × 27 pixels at a time and is trusted on the middle 50 of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ksgen_models.assets import SCENE_CUTS, asset_path
from ksgen_models.errors import AssetError

THUMBNAIL = (48, 27)
"""Width and height in pixels of what the network looks at."""
_WINDOW, _MIDDLE = 100, 50
_LOOKUP = 101  # frames around a frame that it is compared with


def load_transnet(weights: str | os.PathLike[str] | None = None) -> TransNetV2:
    """Load the network.

    Args:
        weights: a state dict of one's own in the authors' PyTorch format; None takes the pinned asset.

    Raises:
        WeightsMissing: the asset is not on this machine.
        AssetError: the file is not TransNetV2's.
    """
    path = Path(asset_path(SCENE_CUTS, weights))
    network = TransNetV2()
    try:
        # weights_only: a file of tensors, no pickled code.
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as exc:
        raise AssetError(f"{path} does not hold the parameters of TransNetV2 ({exc}); fetch it anew") from exc
    return network.eval()


def cut_probabilities(network: TransNetV2, thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability that the scene changes at each frame.

    Args:
        network: from `load_transnet`.
        thumbnails: (T, 27, 48, 3) uint8, every frame of the video in order.

    Returns:
        (T,) float32 in [0, 1].
    """
    count = len(thumbnails)
    if not count:
        return np.zeros(0, np.float32)
    margin = (_WINDOW - _MIDDLE) // 2
    windows = -(-count // _MIDDLE)
    after = margin + windows * _MIDDLE - count
    padded = np.concatenate([thumbnails[:1].repeat(margin, 0), thumbnails, thumbnails[-1:].repeat(after, 0)])
    found = []
    with torch.inference_mode():
        for start in range(0, windows * _MIDDLE, _MIDDLE):
            logits = network(torch.from_numpy(padded[start : start + _WINDOW][None]))
            found.append(torch.sigmoid(logits[0, margin : margin + _MIDDLE]).numpy())
    return np.concatenate(found)[:count].astype(np.float32)


class TransNetV2(nn.Module):
    """(B, T, 27, 48, 3) uint8 to (B, T) logits. Names of the parts follow the authors' parameter file."""

    def __init__(self) -> None:
        super().__init__()
        self.SDDCNN = nn.ModuleList([_Level(3, 16), _Level(64, 32), _Level(128, 64)])
        self.frame_sim_layer = _FrameSimilarity(64 + 128 + 256)
        self.color_hist_layer = _ColourSimilarity()
        self.fc1 = nn.Linear(256 * 3 * 6 + 2 * 128, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)  # for all frames of a transition, used in training only

    def forward(self, frames: Tensor) -> Tensor:
        features = frames.permute(0, 4, 1, 2, 3).float() / 255  # (B, 3, T, 27, 48)
        levels = []
        for level in self.SDDCNN:
            features = level(features)
            levels.append(features)
        flat = features.permute(0, 2, 3, 4, 1).flatten(2)  # (B, T, 3 * 6 * 256)
        joined = torch.cat([self.color_hist_layer(frames), self.frame_sim_layer(levels), flat], dim=2)
        return self.cls_layer1(functional.relu(self.fc1(joined)))[..., 0]


class _Level(nn.Module):
    """Two dilated layers with a shortcut, then half the height and width."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([_Dilated(channels, filters), _Dilated(4 * filters, filters)])

    def forward(self, x: Tensor) -> Tensor:
        first = functional.relu(self.DDCNN[0](x))
        return functional.avg_pool3d(functional.relu(self.DDCNN[1](first)) + first, (1, 2, 2))


class _Dilated(nn.Module):
    """Four separable 3-D convolutions that look 1, 2, 4 and 8 frames far."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.Conv3D_1 = _Separable(channels, filters, 1)
        self.Conv3D_2 = _Separable(channels, filters, 2)
        self.Conv3D_4 = _Separable(channels, filters, 4)
        self.Conv3D_8 = _Separable(channels, filters, 8)
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        seen = (self.Conv3D_1(x), self.Conv3D_2(x), self.Conv3D_4(x), self.Conv3D_8(x))
        return self.bn(torch.cat(seen, dim=1))


class _Separable(nn.Module):
    """A convolution over the picture, then one over time."""

    def __init__(self, channels: int, filters: int, reach: int) -> None:
        super().__init__()
        over_picture = nn.Conv3d(channels, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        over_time = nn.Conv3d(
            2 * filters, filters, (3, 1, 1), dilation=(reach, 1, 1), padding=(reach, 0, 0), bias=False
        )
        self.layers = nn.ModuleList([over_picture, over_time])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](x))


class _FrameSimilarity(nn.Module):
    """How like each frame's features are to those of the frames around."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, 128)
        self.fc = nn.Linear(_LOOKUP, 128)

    def forward(self, levels: list[Tensor]) -> Tensor:
        means = torch.cat([level.mean(dim=(3, 4)) for level in levels], dim=1).transpose(1, 2)  # (B, T, C)
        vectors = functional.normalize(self.projection(means), dim=2)
        return functional.relu(self.fc(_band(vectors @ vectors.transpose(1, 2))))


class _ColourSimilarity(nn.Module):
    """How like each frame's colour histogram, 512 bins, is to those of the frames around."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(_LOOKUP, 128)

    def forward(self, frames: Tensor) -> Tensor:
        red, green, blue = (frames.flatten(2, 3).long() >> 5).unbind(-1)
        bins = (red << 6) + (green << 3) + blue  # (B, T, 27 * 48)
        counts = torch.zeros(*bins.shape[:2], 512, device=frames.device)
        counts.scatter_add_(2, bins, torch.ones_like(bins, dtype=counts.dtype))
        vectors = functional.normalize(counts, dim=2)
        return functional.relu(self.fc(_band(vectors @ vectors.transpose(1, 2))))


def _band(similarity: Tensor) -> Tensor:
    """(B, T, T) to (B, T, 101): each frame's row, from 50 frames before it to 50 after it, 0 beyond the ends."""
    reach = _LOOKUP // 2
    length = similarity.shape[1]
    padded = functional.pad(similarity, (reach, reach))
    places = torch.arange(length, device=similarity.device)[:, None] + torch.arange(_LOOKUP, device=similarity.device)
    return padded.gather(2, places.expand(similarity.shape[0], -1, -1))
