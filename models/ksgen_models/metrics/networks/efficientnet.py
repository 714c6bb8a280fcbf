"""EfficientNet-Lite0 as a feature network: ImageNet features out of a pinned asset, for stand-ins of FID, FVD, CLIP.

Source: Tan and Le, "EfficientNet", ICML 2019, and the Lite variants (no squeeze-and-excitation, ReLU6).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.errors import AssetError

FEATURES = 1280
_SIDE = 224
_EPSILON = 1e-3
# Repeats, kernel, stride of the first, expansion, output channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip
# The checkpoint's inputs: (value - 127) / 128 of 8-bit levels.
_MEAN, _SCALE = 127.0, 128.0


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: the odd pixel goes right and below."""

    def forward(self, input: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads))


class _Block(nn.Module):
    """Inverted bottleneck: widen, depthwise, narrow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.widens = expansion != 1
        if self.widens:
            self.expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self.project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.widens else x
        y = F.relu6(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """The classifier; `features` gives what it pools."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConv(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in _STAGES:
            for number in range(repeats):
                blocks.append(_Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(inputs, FEATURES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(FEATURES, eps=_EPSILON)
        self.fc = nn.Linear(FEATURES, 1000)

    def features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) normalised → pooled head (N, 1280) and pooled last block (N, 320)."""
        x = F.relu6(self.bn0(self.conv_stem(pictures)))
        for block in self.blocks:
            x = block(x)
        head = F.relu6(self.bn1(self.conv_head(x)))
        return head.mean((2, 3)), x.mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, 224, 224) normalised → (N, 1000) ImageNet logits."""
        return self.fc(self.features(pictures)[0])


def load_efficientnet(path: Path) -> EfficientNetLite0:
    """Load the asset's checkpoint.

    Raises:
        AssetError: the file is not that checkpoint.
    """
    network = EfficientNetLite0()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key.removeprefix("_").replace("._", "."): value for key, value in state.items()})
    except Exception as exc:
        raise AssetError(f"{path} is not EfficientNet-Lite0 ({exc}); fetch it anew: ksgen-agent assets") from exc
    return network.eval().requires_grad_(False)


def prepare(frames: NDArray[np.uint8]) -> Tensor:
    """(T, H, W, 3) uint8 → (T, 3, 224, 224) as the network takes them; the whole picture, whatever its shape."""
    import cv2

    shrinks = min(frames.shape[1:3]) > _SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = np.stack([cv2.resize(frame, (_SIDE, _SIDE), interpolation=method) for frame in frames])
    return (torch.from_numpy(resized).permute(0, 3, 1, 2).float() - _MEAN) / _SCALE


@torch.inference_mode()
def frame_features(network: EfficientNetLite0, frames: NDArray[np.uint8]) -> tuple[NDArray, NDArray]:
    """(T, H, W, 3) uint8 → float32 (T, 1280) of the head and (T, 320) of the last block."""
    head, last = network.features(prepare(frames))
    return head.numpy(), last.numpy()


def video_feature(last: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, 320) of a clip's frames → (640,): their mean over time, and the mean absolute change from frame to frame."""
    change = np.abs(np.diff(last, axis=0)).mean(axis=0) if len(last) > 1 else np.zeros_like(last[0])
    return np.concatenate([last.mean(axis=0), change]).astype(np.float32)
