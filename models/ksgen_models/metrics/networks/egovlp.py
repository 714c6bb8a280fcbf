"""EgoVLP's video encoder: divided space-time attention, and a projection to the space it shares with text.

Source: Lin et al., "Egocentric Video-Language Pretraining", NeurIPS 2022; the encoder is that of Bain et al., "Frozen
in Time", ICCV 2021. Loads the authors' own checkpoint (``egovlp.pth``), whose parameter names it keeps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ksgen_models.errors import AssetError
from ksgen_models.metrics.networks.hub import sample_frames

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HEAD_SIZE = 64


class _Attention(nn.Module):
    """Attention over groups of patches; the class token sees everything, and every group sees the class token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, frames: int, over_time: bool) -> Tensor:
        batch, length, width = x.shape
        patches = (length - 1) // frames
        # (B, 1 + F·P, 3·D) → three of (B, heads, 1 + F·P, d)
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        first = F.scaled_dot_product_attention(query[:, :, :1], key, value)

        def grouped(tokens: Tensor) -> Tensor:  # (B, heads, F·P, d) → (B, heads, groups, members, d)
            parts = tokens.unflatten(2, (frames, patches))
            return parts.transpose(2, 3) if over_time else parts

        groups = patches if over_time else frames

        def with_first(tokens: Tensor) -> Tensor:
            shared = tokens[:, :, None, :1].expand(-1, -1, groups, -1, -1)
            return torch.cat([shared, grouped(tokens[:, :, 1:])], dim=3)

        rest = F.scaled_dot_product_attention(grouped(query[:, :, 1:]), with_first(key), with_first(value))
        rest = (rest.transpose(2, 3) if over_time else rest).flatten(2, 3)
        joined = torch.cat([first, rest], dim=2).transpose(1, 2).reshape(batch, length, width)
        return self.proj(joined)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn, self.timeattn = _Attention(width, heads), _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor, frames: int) -> Tensor:
        timed = x + self.timeattn(self.norm3(x), frames, over_time=True)
        # As published, the residual goes around both attentions: x, not `timed`, carries on.
        spaced = x + self.attn(self.norm1(timed), frames, over_time=False)
        return spaced + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(spaced))))


class EgoVlpVideo(nn.Module):
    """Attributes: frames, the most that a clip may have; side, of its pictures in pixels."""

    def __init__(self, *, width: int, depth: int, heads: int, frames: int, patch: int, patches: int, out: int) -> None:
        super().__init__()
        self.frames = frames
        self.side = patch * round(patches**0.5)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, stride=patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, width))
        self.temporal_embed = nn.Parameter(torch.zeros(1, frames, width))
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.vid_proj = nn.Linear(width, out)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, F, 3, side, side), normalised → (B, out) embeddings, not of unit length."""
        batch, frames = clips.shape[:2]
        x = self.patch_embed["proj"](clips.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B·F, P, D)
        x = x.unflatten(0, (batch, frames)) + self.pos_embed[:, None, 1:] + self.temporal_embed[:, :frames, None]
        first = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat([first.expand(batch, -1, -1), x.flatten(1, 2)], dim=1)
        for block in self.blocks:
            x = block(x, frames)
        return self.vid_proj(self.norm(x)[:, 0])


def load_egovlp(path: Path) -> EgoVlpVideo:
    """Load the authors' checkpoint, or a bare state dict of it; sizes are read from the tensors.

    Raises:
        AssetError: the file is not that checkpoint.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        state = _video_part(loaded.get("state_dict", loaded))
        width, _, patch, _ = state["patch_embed.proj.weight"].shape
        network = EgoVlpVideo(
            width=width,
            depth=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
            heads=max(1, width // _HEAD_SIZE),
            frames=state["temporal_embed"].shape[1],
            patch=patch,
            patches=state["pos_embed"].shape[1] - 1,
            out=state["vid_proj.weight"].shape[0],
        )
        network.load_state_dict(state)
    except Exception as exc:
        raise AssetError(
            f"{path} is not an EgoVLP checkpoint that can be read without executing code ({exc}); save its state dict "
            "alone with torch.save and name that file"
        ) from exc
    return network.eval().requires_grad_(False)


def _video_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    part = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name.startswith("video_model."):
            part[name.removeprefix("video_model.")] = value
        elif name.startswith("vid_proj."):
            part[name.replace("vid_proj.0.", "vid_proj.")] = value
    return {key: value for key, value in part.items() if not key.startswith(("head.", "fc.", "pre_logits."))}


@torch.inference_mode()
def video_embedding(network: EgoVlpVideo, clip: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(T, H, W, 3) uint8 → (D,) float32: frames taken evenly, shorter side to the network's, centre cut out."""
    import cv2

    side = network.side
    height, width = clip.shape[1:3]
    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    frames = np.stack([cv2.resize(frame, size, interpolation=method) for frame in sample_frames(clip, network.frames)])
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    cut = torch.from_numpy(frames[:, top : top + side, left : left + side]).permute(0, 3, 1, 2).float() / 255
    return network(((cut - _channels(MEAN)) / _channels(STD))[None])[0].numpy()


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values)[:, None, None]
