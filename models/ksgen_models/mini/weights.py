"""The mini models on disk: one safetensors file a network in half precision, and one JSON that says what they are.

The folder is the package's own ``mini/weights`` unless the environment variable ``KSGEN_MINI_WEIGHTS`` or the caller
names another.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ksgen_models.errors import AssetError, WeightsMissing
from ksgen_models.mini.config import (
    AutoencoderConfig,
    MiniConfig,
    ProgressConfig,
    SkillTransformerConfig,
    TrackConfig,
    UNetConfig,
)

NETWORKS = ("autoencoder", "reader", "progress", "key_step", "clip", "track")


@dataclass(frozen=True)
class MiniMeta:
    """What the networks' files do not say themselves.

    Attributes:
        config: sizes.
        scenes, objects: names that the reader knows, in the order of its outputs.
        looks: skin and sleeve colours seen in training, six numbers in [0, 1] each.
        fps: frames a second of the clips.
    """

    config: MiniConfig
    scenes: tuple[str, ...]
    objects: tuple[str, ...]
    looks: tuple[tuple[float, ...], ...]
    fps: float


def weights_folder(folder: str | Path | None = None) -> Path:
    """The folder to load from.

    Raises:
        WeightsMissing: it lacks a file.
    """
    chosen = Path(folder or os.environ.get("KSGEN_MINI_WEIGHTS") or Path(__file__).parent / "weights")
    missing = [name for name in (*_files(), "mini.json") if not (chosen / name).is_file()]
    if missing:
        raise WeightsMissing(
            f"the mini weights in {chosen} lack {', '.join(missing)}; install the package with its weights, or train "
            "them with `ksgen-agent train mini --data DIR --out DIR` and set KSGEN_MINI_WEIGHTS to DIR/weights"
        )
    return chosen


def save_meta(meta: MiniMeta, folder: Path) -> None:
    """Write ``mini.json``."""
    (folder / "mini.json").write_text(json.dumps(asdict(meta), indent=1) + "\n")


def load_meta(folder: Path) -> MiniMeta:
    """Read ``mini.json``.

    Raises:
        AssetError: it is not what it should be.
    """
    try:
        data = json.loads((folder / "mini.json").read_text())
        sizes = data["config"]
        config = MiniConfig(
            image_size=sizes["image_size"],
            frames=sizes["frames"],
            autoencoder=AutoencoderConfig(**sizes["autoencoder"]),
            clip=_unet(sizes["clip"]),
            key_step=_unet(sizes["key_step"]),
            skill=SkillTransformerConfig(**sizes["skill"]),
            reader_width=sizes["reader_width"],
            progress=ProgressConfig(**sizes["progress"]),
            track=TrackConfig(**sizes["track"]),
        )
        looks = tuple(tuple(look) for look in data["looks"])
        return MiniMeta(config, tuple(data["scenes"]), tuple(data["objects"]), looks, data["fps"])
    except (KeyError, TypeError, ValueError) as exc:
        raise AssetError(f"{folder / 'mini.json'} does not describe mini weights: {exc}") from exc


def save_network(name: str, network: nn.Module, folder: Path) -> None:
    """Write one network's parameters and buffers as float16."""
    from safetensors.torch import save_file

    state = {key: value.detach().to(torch.float16).contiguous() for key, value in network.state_dict().items()}
    partial = folder / f".{name}.part"
    save_file(state, partial)
    partial.replace(folder / f"{name}.safetensors")


def load_network(name: str, network: nn.Module, folder: Path) -> nn.Module:
    """Fill a network from its file; returns it frozen, in evaluation mode.

    Raises:
        AssetError: the file is damaged or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / f"{name}.safetensors"
    try:
        state = load_file(path)
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except (SafetensorError, RuntimeError, OSError) as exc:
        raise AssetError(f"{path} cannot be loaded as the {name} network: {exc}; install the weights anew") from exc
    return network.eval().requires_grad_(False)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every network's file, for provenance."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _files()}


def _files() -> tuple[str, ...]:
    return tuple(f"{name}.safetensors" for name in NETWORKS)


def _unet(data: dict[str, Any]) -> UNetConfig:
    return UNetConfig(**{**data, "widths": tuple(data["widths"]), "blocks": tuple(data["blocks"])})
