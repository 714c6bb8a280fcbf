"""A checkpoint opened for training: its pipeline, the network to train, and sizes that fit it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ksgen_models.errors import InvalidInput, PresetError
from ksgen_models.hub.checkpoints import check_checkpoint
from ksgen_models.hub.loading import load_pipeline
from ksgen_models.hub.repositories import find_checkpoint
from ksgen_models.hub.settings import RunSettings
from ksgen_models.training.hub.backbones import Backbone, backbone_of
from ksgen_models.training.hub.cache import weights_digest
from ksgen_models.training.hub.noising import Flow, Noising, noising_of


@dataclass(frozen=True)
class Kit:
    """A video checkpoint.

    Attributes:
        folder: where it lies.
        pipeline: of diffusers, on the CPU until `to`.
        backbone: its row in the table.
        component: under which the pipeline holds ``network``.
        network: the one that is trained.
        noising: its schedule.
        height, width, frames: of the clips.
    """

    folder: Path
    pipeline: Any
    backbone: Backbone
    component: str
    network: Any
    noising: Noising
    height: int
    width: int
    frames: int

    @property
    def stride(self) -> int:
        """Frames that one latent frame after the first stands for."""
        return int(getattr(self.pipeline, "vae_scale_factor_temporal", 1))

    @property
    def latent_frames(self) -> int:
        """Latent frames of a clip."""
        return (self.frames - 1) // self.stride + 1

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        config = self.pipeline.vae.config
        return int(config.z_dim if "z_dim" in config else config.latent_channels)

    @property
    def holds_first(self) -> bool:
        """Whether the network is given the first latent frame clean, so that nothing is learnt there."""
        return bool(self.pipeline.config.get("expand_timesteps", False))

    @property
    def device(self) -> torch.device:
        """Where the encoders work."""
        return self.pipeline.vae.device

    def with_network(self, network: Any) -> Kit:
        """The same with another network."""
        setattr(self.pipeline, self.component, network)
        return replace(self, network=network)

    def to(self, device: torch.device | str) -> None:
        """Move encoders and decoder (and not the network, which the trainer moves)."""
        for name in ("vae", "text_encoder", "image_encoder"):
            part = getattr(self.pipeline, name, None)
            if part is not None:
                part.requires_grad_(False).eval().to(device)

    def forget_encoders(self) -> None:
        """Free what clips and sentences were encoded with; the VAE stays."""
        for name in ("text_encoder", "image_encoder"):
            if getattr(self.pipeline, name, None) is not None:
                setattr(self.pipeline, name, None)

    def identity(self, *components: str) -> str:
        """Hash of components' weights and of what they are for."""
        return "-".join([self.backbone.pipeline, *(weights_digest(self.folder / name)[:32] for name in components)])

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) in [-1, 1] → (B, C, T', h, w)."""
        return self.backbone.encode(self.pipeline, self._placed(video)).float()

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, T', h, w) → (B, 3, T, H, W) in about [-1, 1], with a gradient."""
        return self.backbone.decode(self.pipeline, latents.to(self.pipeline.vae.dtype)).float()

    def decode_window(self, latents: Tensor, start: int, count: int) -> tuple[Tensor, range]:
        """Decode some latent frames, with the one before them where the VAE looks back in time.

        What the VAE would remember from further back is missing, so that the first of them differ a little from what
        decoding the whole clip gives.

        Args:
            latents: (B, C, T', h, w).
            start, count: which; of a VAE that looks back in time, the first latent frame is decoded alone.

        Returns:
            (B, 3, n, H, W), and the numbers of these n frames in the clip.
        """
        stop = min(start + count, latents.shape[2])
        if self.stride == 1:
            return self.decode(latents[:, :, start:stop]), range(start, stop)
        if start == 0:
            return self.decode(latents[:, :, :1]), range(1)
        number = (stop - start) * self.stride
        before = latents[:, :, start - 1 : start].detach()
        pixels = self.decode(torch.cat([before, latents[:, :, start:stop]], dim=2))[:, :, -number:]
        first = (start - 1) * self.stride + 1
        return pixels, range(first, first + number)

    @torch.no_grad()
    def context(self, picture: Tensor, seed: int) -> Tensor:
        """(1, 3, H, W) in [-1, 1] → (1, C', T', h, w)."""
        noise = torch.Generator().manual_seed(seed)
        placed = self._placed(picture)
        return self.backbone.context(self.pipeline, self.network, placed, self.latent_frames, noise).float()

    @torch.no_grad()
    def text(self, sentence: str) -> Tensor | None:
        """Token states (L, D) of a sentence."""
        states = self.backbone.text(self.pipeline, sentence)
        return None if states is None else states.float()

    @torch.no_grad()
    def image(self, picture: Tensor) -> Tensor | None:
        """Vectors (N, D) of (1, 3, H, W) in [-1, 1]."""
        vectors = self.backbone.image(self.pipeline, self.network, self._placed(picture))
        return None if vectors is None else vectors.float()

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.pipeline.vae.device, self.pipeline.vae.dtype)


def open_kit(
    model: str,
    *,
    revision: str | None = None,
    component: str = "",
    height: int = 0,
    width: int = 0,
    frames: int = 0,
    most_frames: int,
    half: bool = False,
) -> Kit:
    """Open a video checkpoint.

    Args:
        model: folder, or repository in the hub's cache.
        revision: of the repository.
        component: which network, empty for the first.
        height, width: of the clips; 0 for the backbone's own.
        frames: of the clips; 0 for as many as fit, the last frame held once where that makes more fit.
        most_frames: how many the clips have.
        half: keep network and text encoder at 16 bits.

    Raises:
        WeightsMissing: it is not here or not whole.
        PresetError: it cannot be trained.
        InvalidInput: it does not take such sizes.
    """
    folder = find_checkpoint(model, revision)
    backbone = backbone_of(check_checkpoint(folder).pipeline)
    name = component or backbone.components[0]
    if name not in backbone.components:
        raise InvalidInput(f'component "{name}": a {backbone.pipeline} has {", ".join(backbone.components)}')
    settings = RunSettings(dtype="bfloat16" if half else "float32", device="cpu")
    others = dict.fromkeys(other for other in backbone.components if other != name)
    pipeline = load_pipeline(
        folder, settings, pipeline=backbone.pipeline, replaced=others, keep_float32=("vae",), place=False
    )
    network = getattr(pipeline, name)
    if type(network).__name__ != backbone.network:
        raise PresetError(f"{folder / name} holds a {type(network).__name__}; a {backbone.network} can be trained")
    size = (height or backbone.size[0], width or backbone.size[1])
    # One frame may be added by holding the last: 16 frames are one short of what causal VAEs take.
    wanted = frames or most_frames + 1
    kit = Kit(folder, pipeline, backbone, name, network, _noising(pipeline, name), *size, wanted)
    return _checked(kit, exact=frames > 0)


def _noising(pipeline: Any, component: str) -> Noising:
    noising = noising_of(pipeline.scheduler)
    boundary = pipeline.config.get("boundary_ratio")
    if boundary is None or not isinstance(noising, Flow):
        return noising
    bounds = {"least": 0.0, "most": float(boundary)} if component == "transformer_2" else {"least": float(boundary)}
    return replace(noising, **bounds)


def _checked(kit: Kit, exact: bool) -> Kit:
    """Sizes that the network can take; a number of frames that nobody asked for is brought down to one."""
    multiple = _spatial(kit.pipeline) * _patch(kit.network)
    if kit.height % multiple or kit.width % multiple:
        raise InvalidInput(f"{kit.height} × {kit.width}: {kit.backbone.network} takes multiples of {multiple} pixels")
    rule = kit.backbone.rule
    fitting = (kit.frames - 1) // rule * rule + 1
    if exact and fitting != kit.frames:
        raise InvalidInput(f"{kit.frames} frames: {kit.backbone.network} takes {rule} k + 1, e.g. {fitting}")
    return replace(kit, frames=fitting)


def _spatial(pipeline: Any) -> int:
    return int(getattr(pipeline, "vae_scale_factor_spatial", None) or pipeline.vae_scale_factor)


def _patch(network: Any) -> int:
    if "patch_size" in network.config:
        patch = network.config.patch_size
        return int(patch if isinstance(patch, int) else patch[1])
    return 2 ** (len(network.config.block_out_channels) - 1)
