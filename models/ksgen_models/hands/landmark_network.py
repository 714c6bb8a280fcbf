"""MediaPipe's hand landmark network as a frozen PyTorch module, through which gradients pass to the picture.

The network (``hand_landmark_full``, Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking") is an
EfficientNet-Lite-B0 (Tan & Le 2019) with four linear heads. Its weights are read from the TFLite file in the hand
landmarker's ``.task`` bundle, with the flatbuffer schema that the mediapipe package ships; the file holds them as
float16 behind DEQUANTIZE operators.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.assets import HAND_LANDMARKER, asset_path
from ksgen_models.errors import AssetError
from ksgen_models.types import HAND_KEYPOINTS

CROP_SIZE = 224
"""Height and width of the pictures that the network takes."""

_MEMBER = "hand_landmarks_detector.tflite"
_STEM, _FIRST, _LAST = 24, 16, 1152
# (width inside, kernel, stride, width out) of each inverted residual block.
_BLOCKS = (
    (64, 3, 2, 24), (144, 3, 1, 24),
    (144, 5, 2, 40), (240, 5, 1, 40),
    (240, 3, 2, 80), (480, 3, 1, 80), (480, 3, 1, 80),
    (480, 5, 1, 112), (672, 5, 1, 112), (672, 5, 1, 112),
    (672, 5, 2, 192), (1152, 5, 1, 192), (1152, 5, 1, 192), (1152, 5, 1, 192),
)  # fmt: skip


@dataclass(frozen=True)
class HandOutput:
    """What the network says about N crops.

    Attributes:
        keypoints: (N, 21, 3) in pixels of the 224×224 crop, z relative to the wrist and smaller when nearer.
        presence: (N,) logit that the crop shows a hand.
        right: (N,) logit that it is the person's right hand, in an unmirrored picture.
        world: (N, 21, 3) metres, relative to the hand's centre, turned as the crop is.
    """

    keypoints: Tensor
    presence: Tensor
    right: Tensor
    world: Tensor


class LandmarkNetwork(nn.Module):
    """Crops (N, 3, 224, 224) RGB in [0, 1] to `HandOutput`; frozen, differentiable in the crops.

    The heads compute in full precision under autocast: bfloat16 would round a keypoint to a whole pixel.
    """

    def __init__(self) -> None:
        """Make the network with weights of no meaning; `load_landmark_network` makes one with MediaPipe's."""
        super().__init__()
        self.stem = _SameConv(3, _STEM, 3, stride=2)
        self.first_depthwise = _SameConv(_STEM, _STEM, 3, groups=_STEM)
        self.first_pointwise = _SameConv(_STEM, _FIRST, 1)
        widths = (_FIRST, *(out for *_, out in _BLOCKS))
        self.blocks = nn.ModuleList(
            _Block(width, inside, kernel, stride, out)
            for width, (inside, kernel, stride, out) in zip(widths, _BLOCKS, strict=False)
        )
        self.last_pointwise = _SameConv(widths[-1], _LAST, 1)
        self.last_depthwise = _SameConv(_LAST, _LAST, 3, groups=_LAST)
        self.keypoints = nn.Linear(_LAST, 3 * HAND_KEYPOINTS)
        self.presence = nn.Linear(_LAST, 1)
        self.right = nn.Linear(_LAST, 1)
        self.world = nn.Linear(_LAST, 3 * HAND_KEYPOINTS)
        self.eval().requires_grad_(False)

    def forward(self, crops: Tensor) -> HandOutput:
        """(N, 3, 224, 224) RGB in [0, 1] to what the network says about them."""
        x = F.relu6(self.stem(crops))
        x = self.first_pointwise(F.relu6(self.first_depthwise(x)))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.last_depthwise(F.relu6(self.last_pointwise(x))))
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.presence.weight.dtype).mean((2, 3))  # (N, 1152)
            return HandOutput(
                keypoints=self.keypoints(x).unflatten(1, (HAND_KEYPOINTS, 3)),
                presence=self.presence(x)[:, 0],
                right=self.right(x)[:, 0],
                world=self.world(x).unflatten(1, (HAND_KEYPOINTS, 3)),
            )


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding for even sizes: with stride 2, one less at the left and top."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width, out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
        self.before, self.after = (kernel - stride) // 2, (kernel - stride + 1) // 2

    def forward(self, input: Tensor) -> Tensor:
        if self.stride[0] > 1:
            input = F.pad(input, (self.before, self.after, self.before, self.after))
        if self.groups > 1 and input.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # The backward pass of depthwise convolutions is far slower in bfloat16 than in float32 on a CPU.
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.to(self.weight.dtype))
        return super().forward(input)


class _Block(nn.Module):
    """Inverted residual block: widen, filter each channel, narrow; added to its input where the sizes agree."""

    def __init__(self, width: int, inside: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        self.widen = _SameConv(width, inside, 1)
        self.depthwise = _SameConv(inside, inside, kernel, stride, groups=inside)
        self.narrow = _SameConv(inside, out, 1)
        self.is_residual = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(F.relu6(self.depthwise(F.relu6(self.widen(x)))))
        return x + y if self.is_residual else y


def load_landmark_network(bundle: str | os.PathLike[str] | None = None) -> LandmarkNetwork:
    """The network with MediaPipe's weights, in float32.

    Args:
        bundle: a hand landmarker's ``.task`` file of one's own; None takes the pinned asset.

    Raises:
        WeightsMissing: the asset is not on this machine.
        AssetError: the bundle holds no network of this architecture.
    """
    path = asset_path(HAND_LANDMARKER, bundle)
    try:
        with zipfile.ZipFile(path) as archive:
            network, heads = _read_weights(archive.read(_MEMBER))
    except (OSError, zipfile.BadZipFile, KeyError) as exc:
        raise AssetError(f"{path} is not a hand landmarker bundle ({exc}); fetch it again") from exc
    model = LandmarkNetwork()
    convolutions = [module for module in model.modules() if isinstance(module, _SameConv)]
    layers = [*convolutions, model.keypoints, model.presence, model.right, model.world]
    weights = [*network, *heads]
    if [tuple(layer.weight.shape) for layer in layers] != [weight.shape for weight, _ in weights]:
        raise AssetError(f"{path} holds another landmark network than MediaPipe's hand_landmark_full; fetch it again")
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        assert layer.bias is not None
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


_Weights = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def _read_weights(data: bytes) -> tuple[_Weights, _Weights]:
    """Weights and biases of the convolutions, in order, and of the heads for keypoints, presence, right and world."""
    from mediapipe.tasks.metadata import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise AssetError(f"{_MEMBER} is not a TFLite network; fetch the hand landmarker again")
    # The generated classes declare every field optional; a network has graphs and buffers.
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    kinds = schema.BuiltinOperator
    makers = {output: operator for operator in graph.operators for output in operator.outputs}

    def array(tensor: int) -> NDArray[np.float32]:
        maker = makers.get(tensor)
        stored = graph.tensors[maker.inputs[0] if maker is not None else tensor]  # behind a DEQUANTIZE
        dtype = np.float16 if stored.type == schema.TensorType.FLOAT16 else np.float32
        values = np.asarray(model.buffers[stored.buffer].data, np.uint8).view(dtype)
        return values.reshape(tuple(stored.shape)).astype(np.float32)

    convolutions: _Weights = []
    for operator in graph.operators:
        kind = codes[operator.opcodeIndex]
        if kind not in (kinds.CONV_2D, kinds.DEPTHWISE_CONV_2D):
            continue
        weight, bias = array(operator.inputs[1]), array(operator.inputs[2])
        # TFLite: (out, height, width, in), depthwise (1, height, width, channels); PyTorch: (out, in, height, width).
        axes = (0, 3, 1, 2) if kind == kinds.CONV_2D else (3, 0, 1, 2)
        convolutions.append((weight.transpose(axes).copy(), bias))
    heads: _Weights = []
    for output in graph.outputs:  # keypoints, presence, right hand, world keypoints
        maker = makers[output]
        if codes[maker.opcodeIndex] == kinds.LOGISTIC:
            maker = makers[maker.inputs[0]]
        heads.append((array(maker.inputs[1]), array(maker.inputs[2])))
    return convolutions, heads
