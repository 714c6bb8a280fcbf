"""The six mini networks, loaded and ready for the CPU, with the text encoder they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.clip_model import ClipModel
from ksgen_models.mini.geometry import Square, halve, lay_over
from ksgen_models.mini.key_step_model import KeyStepModel
from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.mini.weights import MiniMeta, hashes, load_meta, load_network, weights_folder
from ksgen_models.precision import cpu_dtype
from ksgen_models.text import MiniLM


@dataclass(frozen=True)
class Networks:
    """The networks and what is known about them.

    Attributes:
        meta: what the files do not say themselves.
        autoencoder, key_step, clip: the generators, in ``dtype``.
        reader, progress, track: in float32.
        text: the sentence encoder.
        hashes: SHA-256 of the networks' files.
        dtype: what the generators compute in.
    """

    meta: MiniMeta
    autoencoder: Autoencoder
    reader: ReaderNetwork
    progress: ProgressNetwork
    key_step: KeyStepModel
    clip: ClipModel
    track: TrackModel
    text: MiniLM
    hashes: dict[str, str]
    dtype: torch.dtype = torch.float32

    def tokens(self, sentences: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """MiniLM token states (N, L, D) and their mask (N, L)."""
        states, mask = self.text.tokens(sentences)
        return torch.from_numpy(states).to(self.dtype), torch.from_numpy(mask)

    def square(self, frame: NDArray[np.uint8]) -> Square:
        """The geometry of a frame (H, W, 3)."""
        return Square(frame.shape[0], frame.shape[1], self.meta.config.image_size)


def load_networks(folder: str | Path | None = None) -> Networks:
    """Load from a folder of weights (see `ksgen_models.mini.weights`), in this processor's precision.

    Raises:
        WeightsMissing: weights or the sentence encoder are not on this machine.
        AssetError: a file is damaged.
    """
    path, dtype = weights_folder(folder), cpu_dtype()
    meta = load_meta(path)
    config = meta.config
    autoencoder = load_network("autoencoder", Autoencoder(config.autoencoder), path)
    reader = load_network("reader", ReaderNetwork(config.reader_width, len(meta.scenes), meta.objects), path)
    progress = load_network("progress", ProgressNetwork(config.progress), path)
    key_step = load_network("key_step", KeyStepModel(config), path)
    clip = load_network("clip", ClipModel(config), path)
    track = load_network("track", TrackModel(config.track, config.frames), path)
    for network in (autoencoder, key_step, clip):
        network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Networks(
        meta=meta,
        autoencoder=cast(Autoencoder, autoencoder),
        reader=cast(ReaderNetwork, reader),
        progress=cast(ProgressNetwork, progress),
        key_step=cast(KeyStepModel, key_step),
        clip=cast(ClipModel, clip),
        track=cast(TrackModel, track),
        text=MiniLM(),
        hashes=hashes(path),
        dtype=dtype,
    )


def half_picture(networks: Networks, picture: NDArray[np.uint8]) -> Tensor:
    """(s, s, 3) uint8 → (1, 3, s/2, s/2) in [-1, 1], averaged over 2×2 pixels, as the generators see pictures."""
    return picture_tensor(torch.from_numpy(halve(picture)))[None].to(networks.dtype)


@torch.inference_mode()
def encode_over(networks: Networks, picture: NDArray[np.uint8], context: NDArray[np.uint8]) -> Tensor:
    """Normalised latents (1, C, h, w) float32 of a picture (H, W, 3) as it is seen from the context (H, W, 3)."""
    square = networks.square(context)
    tensors = picture_tensor(torch.from_numpy(np.stack([square.to_square(image) for image in (picture, context)])))
    with torch.autocast("cpu", torch.bfloat16, enabled=networks.dtype is torch.bfloat16):
        raw = networks.autoencoder.encode(tensors[:1].to(networks.dtype), tensors[1:].to(networks.dtype))
    return networks.autoencoder.normalise(raw.float())


def decode_over(networks: Networks, latents: Tensor, context: NDArray[np.uint8], batch: int = 16) -> NDArray[np.uint8]:
    """Decode normalised latents (N, C, h, w) and lay each over the context (H, W, 3): (N, H, W, 3) uint8."""
    square = networks.square(context)
    context_tensor = picture_tensor(torch.from_numpy(square.to_square(context)))[None].to(networks.dtype)
    raw = networks.autoencoder.denormalise(latents.float()).to(networks.dtype)
    pictures = []
    for part in raw.split(batch):
        decoded = networks.autoencoder.decode(part, context_tensor)
        colour = decoded.colour.movedim(1, -1).float().numpy()
        opacity = decoded.opacity[:, 0].float().numpy()
        pictures += [lay_over(context, c, a, square) for c, a in zip(colour, opacity, strict=True)]
    return np.stack(pictures)
