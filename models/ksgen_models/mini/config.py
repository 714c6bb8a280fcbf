"""Sizes of the mini models: one frozen dataclass a model, and the two sets of them that exist."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class AutoencoderConfig:
    """Attributes: see `ksgen_models.mini.autoencoder.Autoencoder`.

    Attributes:
        latent_channels: channels of the latent, at one sixteenth of the picture's height and width.
        width: channels at one eighth of the picture's size.
        deep_width: channels at one sixteenth.
        blocks: residual blocks a level.
    """

    latent_channels: int = 12
    width: int = 112
    deep_width: int = 160
    blocks: int = 2


@dataclass(frozen=True)
class UNetConfig:
    """Attributes: see `ksgen_models.mini.unet.FactorisedUNet`.

    Attributes:
        widths: channels at the latent's size, at a half and at a quarter of it.
        blocks: residual blocks a level on the way down (one more on the way up where that is affordable).
        embedding: length of the time-and-vector embedding.
        text: length of a text token.
        heads: channels of an attention head.
        max_length: longest time axis (frames of a clip, or steps of a plan).
    """

    widths: tuple[int, int, int] = (96, 160, 256)
    blocks: tuple[int, int, int] = (1, 2, 1)
    embedding: int = 192
    text: int = 192
    heads: int = 32
    max_length: int = 16


@dataclass(frozen=True)
class SkillTransformerConfig:
    """Attributes: see `ksgen_models.mini.skill_transformer.SkillTransformer`.

    Attributes:
        layers: transformer layers.
        heads: attention heads.
        queries: learned queries a step.
    """

    layers: int = 3
    heads: int = 4
    queries: int = 8


@dataclass(frozen=True)
class ProgressConfig:
    """Attributes: see `ksgen_models.mini.progress.ProgressNetwork`.

    Attributes:
        width: of the cells, see `ksgen_models.mini.cells.Cells`.
        channels: of every token.
        layers: transformer layers.
        heads: attention heads.
        queries: learned queries a sentence.
    """

    width: int = 32
    channels: int = 48
    layers: int = 3
    heads: int = 4
    queries: int = 3


@dataclass(frozen=True)
class TrackConfig:
    """Attributes: see `ksgen_models.mini.track_model.TrackModel`.

    Attributes:
        width: channels of every token.
        layers: transformer layers.
        heads: attention heads.
    """

    width: int = 72
    layers: int = 4
    heads: int = 4


@dataclass(frozen=True)
class MiniConfig:
    """Everything about the mini models' shapes.

    Attributes:
        image_size: side of the square picture that the models see and draw, a multiple of 64.
        frames: frames of a clip.
        autoencoder, clip, key_step, skill, progress, track: the networks.
        reader_width: of the scene reader's cells, see `ksgen_models.mini.cells.Cells`.
    """

    image_size: int = 256
    frames: int = 16
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: UNetConfig = field(default_factory=UNetConfig)
    key_step: UNetConfig = field(default_factory=lambda: UNetConfig(widths=(96, 160, 224), blocks=(1, 1, 1)))
    skill: SkillTransformerConfig = field(default_factory=SkillTransformerConfig)
    reader_width: int = 32
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    track: TrackConfig = field(default_factory=TrackConfig)


FULL = MiniConfig()

TINY = MiniConfig(
    image_size=128,
    autoencoder=AutoencoderConfig(latent_channels=4, width=16, deep_width=24, blocks=1),
    clip=UNetConfig(widths=(16, 24, 32), blocks=(1, 1, 1), embedding=32, text=32, heads=8),
    key_step=UNetConfig(widths=(16, 24, 32), blocks=(1, 1, 1), embedding=32, text=32, heads=8),
    skill=SkillTransformerConfig(layers=1, heads=2, queries=2),
    reader_width=8,
    progress=ProgressConfig(width=8, channels=16, layers=1, heads=2, queries=2),
    track=TrackConfig(width=16, layers=1, heads=2),
)
"""As small as the code path allows: for tests and dry runs of training."""
