"""ST-LPIPS with its AlexNet trunk: a perceptual distance out of a pinned asset, the stand-in for the DINO similarity.

Source: Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022: LPIPS (Zhang et al., CVPR 2018)
retrained with blurred subsampling.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.errors import AssetError

_EPSILON = 1e-10


class _Blur(nn.Module):
    """A 3×3 binomial blur with stride 2 over a picture mirrored two pixels outwards."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class ShiftTolerantLpips(nn.Module):
    """The distance of two pictures; parameters are named as in the published checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer = nn.Module()
        self.scaling_layer.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.scaling_layer.register_buffer("scale", torch.ones(1, 3, 1, 1))
        pool = nn.MaxPool2d(3, 1)
        slices = (
            {"0": nn.Conv2d(3, 64, 11, padding=2), "1": _Blur(64), "2": nn.ReLU()},
            {"3": pool, "4": _Blur(64), "5": nn.Conv2d(64, 192, 5, padding=2), "6": nn.ReLU()},
            {"7": pool, "8": _Blur(192), "9": nn.Conv2d(192, 384, 3, padding=1), "10": nn.ReLU()},
            {"11": nn.Conv2d(384, 256, 3, padding=1), "12": nn.ReLU()},
            {"13": nn.Conv2d(256, 256, 3, padding=1), "14": nn.ReLU()},
        )
        self.net = nn.Module()
        for number, layers in enumerate(slices, start=1):
            part = nn.Sequential()
            for name, layer in layers.items():
                part.add_module(name, layer)
            self.net.add_module(f"slice{number}", part)
        for number, channels in enumerate((64, 192, 384, 256, 256)):
            head = nn.Module()
            head.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{number}", head)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, 3, H, W) twice, in [-1, 1] → (N,) distances ≥ 0; 0 for equal pictures."""
        x, y = self._scaled(first), self._scaled(second)
        total = torch.zeros(len(x))
        for number in range(5):
            layer = self.net.get_submodule(f"slice{number + 1}")
            x, y = layer(x), layer(y)
            head = self.get_submodule(f"lin{number}.model.1")
            total = total + head(torch.square(_unit(x) - _unit(y))).mean((1, 2, 3))
        return total

    def _scaled(self, pictures: Tensor) -> Tensor:
        shift, scale = self.scaling_layer.get_buffer("shift"), self.scaling_layer.get_buffer("scale")
        return (pictures - shift) / scale


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def load_stlpips(path: Path) -> ShiftTolerantLpips:
    """Load the asset's checkpoint.

    Raises:
        AssetError: the file is not that checkpoint.
    """
    network = ShiftTolerantLpips()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as exc:
        raise AssetError(f"{path} is not ST-LPIPS ({exc}); fetch it anew: ksgen-agent assets") from exc
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def perceptual_distance(
    network: ShiftTolerantLpips, generated: NDArray[np.uint8], real: NDArray[np.uint8], side: int = 128
) -> float:
    """Mean ST-LPIPS of two clips (T, H, W, 3) uint8, frame by frame, at ``side`` × ``side`` pixels; less is better."""
    return float(network(_prepare(generated, side), _prepare(real, side)).mean())


def _prepare(frames: NDArray[np.uint8], side: int) -> Tensor:
    import cv2

    resized = np.stack([cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in frames])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 127.5 - 1
