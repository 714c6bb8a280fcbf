"""The embedded models as ONNX: reader, progress network, KIG, track model, clip model and decoder, in float32.

Each generator is two models: what it is told is worked out once a plan or clip (``…_condition``), the velocity of the
flow at every solver step (``…_velocity``). The solver itself, a dozen lines of arithmetic, stays with the caller; see
`ksgen_models.mini.sampling`. Sizes: B batch, S steps of the plan, T = 16 frames, L = 24 tokens, h = w = 16 for the
weights that ship; a name of `MINI_MODELS` is the file's name without ``.onnx``.

===========================  ==========================================================================================
``reader``                   picture (N, 3, 16h, 16w) in [-1, 1] → logits of scene, objects and Workbench;
                             distance (N,)
``progress``                 picture (N, 3, 8h, 8w), tokens (N, S, L, D), mask (N, S, L), together (N, S, S) bool →
                             logits of done, seen and smaller (N, S)
``key_step_condition``       frame (1, 3, 8h, 8w), tokens (1, S, L, D), mask (1, S, L) → spatial, text, text_mask;
                             change and motion (S, 2h, 2w) logits, what the Skill Transformer points at
``key_step_velocity``        x (1, S, C, h, w), noise (1,), spatial, text, text_mask → velocity
``track``                    image, goal (B, 3, 8h, 8w), tokens (B, L, D), mask (B, L) → places
                             (B, 2, K, T, 21, 2), there (B, 2, T) and likely (B, 2, K) logits
``clip_condition``           image, goal (B, 3, 8h, 8w), regions (B, T, 2, 4h, 4w), track (B, T, 4, 4h, 4w),
                             tokens (B, L, D), mask (B, L), look (B, 6), has_goal, has_regions, has_track,
                             has_look (B,) bool → spatial, text, text_mask, vector
``clip_velocity``            x (B, T, C, h, w), noise (B,), spatial, text, text_mask, vector → velocity
``masks_velocity``           the same for the masks of stage 1, x (B, T, 32, h, w)
``decoder``                  latent (N, C, h, w) as the generators draw it, context (1, 3, 16h, 16w) → colour, opacity
===========================  ==========================================================================================

S, N and B are free, K is `ksgen_models.mini.track_model.MANNERS`. The exported files are as large as the networks in
float32 (below 200 MB together), and are made on the user's machine; none is part of the package.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ksgen_export.onnx_writing import Export, write_export
from ksgen_models.errors import InvalidInput
from ksgen_models.mini.autoencoder import FACTOR, Autoencoder
from ksgen_models.mini.clip_model import CLIP, LOOK, MASK_PATCH, MASKS, ClipModel
from ksgen_models.mini.hand_pictures import HAND_CHANNELS
from ksgen_models.mini.key_step_model import IMAGE, KeyStepModel
from ksgen_models.mini.progress import ProgressNetwork
from ksgen_models.mini.reader import ReaderNetwork
from ksgen_models.mini.track_model import TrackModel
from ksgen_models.mini.unet import Condition
from ksgen_models.text import TOKENS

if TYPE_CHECKING:
    from ksgen_models.mini.networks import Networks

STATES = 384
"""Length of a token state of the sentence encoder."""


class Reader(nn.Module):
    """The scene reader with its distance from what it knows."""

    def __init__(self, network: ReaderNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, 16h, 16w) → scene (N, K), objects (N, O), Workbench (N,) logits; distance (N,)."""
        scene, objects, workbench, features = self.network(picture)
        return scene, objects, workbench, self.network.distance(features)


class Progress(nn.Module):
    """What the progress network says of sentences."""

    def __init__(self, network: ProgressNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor, tokens: Tensor, mask: Tensor, together: Tensor) -> tuple[Tensor, ...]:
        """See `ksgen_models.mini.progress.ProgressNetwork.forward`."""
        said = self.network(picture, tokens, mask, together)
        return said.done, said.seen, said.smaller


class KeyStepCondition(nn.Module):
    """The KIG's Skill Transformer and stem."""

    def __init__(self, model: KeyStepModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """See `ksgen_models.mini.key_step_model.KeyStepModel.condition`."""
        told = self.model.condition(frame, tokens, mask)
        return told.unet.spatial, told.unet.tokens, told.unet.mask, told.skills.change[-1, 0], told.skills.motion[-1, 0]


class KeyStepVelocity(nn.Module):
    """The KIG's UNet."""

    def __init__(self, model: KeyStepModel) -> None:
        super().__init__()
        self.unet = model.unet

    def forward(self, x: Tensor, noise: Tensor, spatial: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """See `ksgen_models.mini.unet.FactorisedUNet`."""
        return self.unet(x, noise, Condition(spatial, text, text_mask), IMAGE)


class Track(nn.Module):
    """What is expected of the hands."""

    def __init__(self, network: TrackModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, goal: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """See `ksgen_models.mini.track_model.TrackModel.forward`."""
        said = self.network(image, goal, tokens, mask)
        return said.places, said.there, said.likely


class ClipCondition(nn.Module):
    """What the clip model is told."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, image: Tensor, goal: Tensor, regions: Tensor, track: Tensor, tokens: Tensor, mask: Tensor, look: Tensor,
        has_goal: Tensor, has_regions: Tensor, has_track: Tensor, has_look: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """See `ksgen_models.mini.clip_model.ClipModel.condition`."""
        told = self.model.condition(
            image, goal, regions, track, tokens, mask, look,
            has_goal=has_goal, has_regions=has_regions, has_track=has_track, has_look=has_look,
        )  # fmt: skip
        assert told.vector is not None
        return told.spatial, told.tokens, told.mask, told.vector


class ClipVelocity(nn.Module):
    """The clip model's UNet with one of its heads."""

    def __init__(self, model: ClipModel, head: str) -> None:
        super().__init__()
        self.unet, self.head = model.unet, head

    def forward(
        self, x: Tensor, noise: Tensor, spatial: Tensor, text: Tensor, text_mask: Tensor, vector: Tensor
    ) -> Tensor:
        """See `ksgen_models.mini.unet.FactorisedUNet`."""
        return self.unet(x, noise, Condition(spatial, text, text_mask, vector), self.head)


class Decoder(nn.Module):
    """The autoencoder's decoder, from latents as the generators draw them."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latent: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """See `ksgen_models.mini.autoencoder.Autoencoder.decode`."""
        decoded = self.autoencoder.decode(self.autoencoder.denormalise(latent), context)
        return decoded.colour, decoded.opacity


MINI_MODELS = (
    "reader",
    "progress",
    "key_step_condition",
    "key_step_velocity",
    "track",
    "clip_condition",
    "clip_velocity",
    "masks_velocity",
    "decoder",
)


def mini_export(name: str, networks: Networks, *, steps: int = 3, batch: int = 2) -> Export:
    """One of the models with an example of what it takes, drawn at random.

    Args:
        name: of `MINI_MODELS`.
        networks: loaded; their weights are turned to float32 in place.
        steps, batch: of the example.

    Raises:
        InvalidInput: there is no such model.
    """
    makers = {
        "reader": lambda: _reader(networks, batch),
        "progress": lambda: _progress(networks, steps, batch),
        "key_step_condition": lambda: _key_step_condition(networks, steps),
        "key_step_velocity": lambda: _key_step_velocity(networks, steps),
        "track": lambda: _track(networks, batch),
        "clip_condition": lambda: _clip_condition(networks, batch),
        "clip_velocity": lambda: _clip_velocity(networks, batch, CLIP),
        "masks_velocity": lambda: _clip_velocity(networks, batch, MASKS),
        "decoder": lambda: _decoder(networks, batch),
    }
    if name not in makers:
        raise InvalidInput(f'there is no model "{name}"; choose among {", ".join(MINI_MODELS)}')
    for network in (
        networks.reader,
        networks.progress,
        networks.key_step,
        networks.track,
        networks.clip,
        networks.autoencoder,
    ):
        network.float().eval()
    return makers[name]()


def export_mini(folder: str | Path, networks: Networks, names: Iterable[str] = MINI_MODELS) -> dict[str, Path]:
    """Write models of `MINI_MODELS` as ``FOLDER/NAME.onnx``; name → path.

    Args:
        folder: made if it is not there.
        networks: from `ksgen_models.mini.networks.load_networks`; their weights are turned to float32 in place.
        names: which.

    Raises:
        InvalidInput: there is no such model.
        PresetError: the packages onnx and onnxscript are not here.
    """
    written = {}
    for name in names:
        written[name] = write_export(mini_export(name, networks), Path(folder) / f"{name}.onnx")
    return written


def _reader(networks: Networks, batch: int) -> Export:
    free = {"picture": (0,)}
    outputs = ("scene", "objects", "workbench", "distance")
    return Export(Reader(networks.reader), {"picture": _picture(networks, batch, half=False)}, outputs, free)


def _progress(networks: Networks, steps: int, batch: int) -> Export:
    example = {
        "picture": _picture(networks, batch),
        "tokens": torch.randn(batch, steps, TOKENS, STATES),
        "mask": _mask(batch, steps),
        "together": torch.eye(steps, dtype=torch.bool).expand(batch, -1, -1).clone(),
    }
    free = {"picture": (0,), "tokens": (0, 1), "mask": (0, 1), "together": (0, 1, 2)}
    return Export(Progress(networks.progress), example, ("done", "seen", "smaller"), free)


def _key_step_condition(networks: Networks, steps: int) -> Export:
    example = {"frame": _picture(networks, 1), "tokens": torch.randn(1, steps, TOKENS, STATES), "mask": _mask(1, steps)}
    outputs = ("spatial", "text", "text_mask", "change", "motion")
    return Export(KeyStepCondition(networks.key_step), example, outputs, {"tokens": (1,), "mask": (1,)})


def _key_step_velocity(networks: Networks, steps: int) -> Export:
    config = networks.meta.config
    told = _key_step_condition(networks, steps)
    with torch.no_grad():
        spatial, text, text_mask, *_ = told.module(*told.example.values())
    x = torch.randn(1, steps, config.autoencoder.latent_channels, *_latent_size(networks))
    example = {"x": x, "noise": torch.rand(1), "spatial": spatial, "text": text, "text_mask": text_mask}
    free = {"x": (1,), "spatial": (0,), "text": (0,), "text_mask": (0,)}
    return Export(KeyStepVelocity(networks.key_step), example, ("velocity",), free)


def _track(networks: Networks, batch: int) -> Export:
    example = {
        "image": _picture(networks, batch),
        "goal": _picture(networks, batch),
        "tokens": torch.randn(batch, TOKENS, STATES),
        "mask": _mask(batch),
    }
    return Export(Track(networks.track), example, ("places", "there", "likely"), dict.fromkeys(example, (0,)))


def _clip_condition(networks: Networks, batch: int) -> Export:
    config = networks.meta.config
    region_size = tuple(MASK_PATCH * side for side in _latent_size(networks))
    example = {
        "image": _picture(networks, batch),
        "goal": _picture(networks, batch),
        "regions": torch.rand(batch, config.frames, 2, *region_size) * 2 - 1,
        "track": torch.rand(batch, config.frames, HAND_CHANNELS, *region_size),
        "tokens": torch.randn(batch, TOKENS, STATES),
        "mask": _mask(batch),
        "look": torch.rand(batch, LOOK),
        **{name: torch.arange(batch) % 2 == 0 for name in ("has_goal", "has_regions", "has_track", "has_look")},
    }
    outputs = ("spatial", "text", "text_mask", "vector")
    return Export(ClipCondition(networks.clip), example, outputs, dict.fromkeys(example, (0,)))


def _clip_velocity(networks: Networks, batch: int, head: str) -> Export:
    config = networks.meta.config
    told = _clip_condition(networks, batch)
    with torch.no_grad():
        spatial, text, text_mask, vector = told.module(*told.example.values())
    channels = {CLIP: config.autoencoder.latent_channels, MASKS: 2 * MASK_PATCH**2}[head]
    example = {
        "x": torch.randn(batch, config.frames, channels, *_latent_size(networks)),
        "noise": torch.rand(batch),
        "spatial": spatial,
        "text": text,
        "text_mask": text_mask,
        "vector": vector,
    }
    return Export(ClipVelocity(networks.clip, head), example, ("velocity",), dict.fromkeys(example, (0,)))


def _decoder(networks: Networks, batch: int) -> Export:
    config = networks.meta.config
    latent = torch.randn(batch, config.autoencoder.latent_channels, *_latent_size(networks))
    context = torch.rand(1, 3, config.image_size, config.image_size) * 2 - 1
    example = {"latent": latent, "context": context}
    return Export(Decoder(networks.autoencoder), example, ("colour", "opacity"), {"latent": (0,)})


def _latent_size(networks: Networks) -> tuple[int, int]:
    side = networks.meta.config.image_size // FACTOR
    return side, side


def _picture(networks: Networks, batch: int, *, half: bool = True) -> Tensor:
    side = networks.meta.config.image_size // (2 if half else 1)
    return torch.rand(batch, 3, side, side) * 2 - 1


def _mask(*shape: int) -> Tensor:
    """(..., L) bool, eleven tokens each."""
    return (torch.arange(TOKENS) < 11).expand(*shape, -1).clone()
