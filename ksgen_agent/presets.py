"""The presets by name: which models an `Agent` is made of and how they are loaded.

A hub preset is a video family and a key-step image model. The table has one for each family with a default image model
and one for each image model with a default family; ``"ltx+sdxl"`` names any other pair.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ksgen_models.errors import KSGenError, PresetError
from ksgen_models.hub.families import FAMILIES
from ksgen_models.hub.images import IMAGE_MODELS
from ksgen_models.hub.refused import REFUSED
from ksgen_models.interfaces import Parts

DEFAULT_IMAGES = "qwen-image-edit"
"""Draws the key-step images of a video preset: needs no training, and its licence allows every use."""
DEFAULT_VIDEO = "wan2.2-i2v"
"""Draws the clips of a preset that is named after its key-step image model."""
SETTINGS = "KSGEN_SETTINGS"
"""Environment variable with settings for hub presets where a caller passes none: ``offload=model,vae_tiling=true``."""


@dataclass(frozen=True)
class Preset:
    """One way to put an agent together.

    Attributes:
        name: what users call it.
        description: one sentence.
        loader: ``"module:function"``; the function returns `ksgen_models.interfaces.Parts`, and takes ``device`` if the
            preset can run on more than one kind.
        needs: import names without which it cannot run.
        extra: the extra of ``ksgen-agent`` that installs them.
        devices: kinds of devices it runs on, the one it takes unless told otherwise first.
        arguments: what the loader is called with.
    """

    name: str
    description: str
    loader: str
    needs: tuple[str, ...]
    extra: str
    devices: tuple[str, ...] = ("cpu",)
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where it runs unless told otherwise."""
        return self.devices[0]

    @property
    def from_hub(self) -> bool:
        """Whether its models are pretrained ones from the hub."""
        return self.loader == _HUB_LOADER


_HUB_LOADER = "ksgen_models.hub.parts:load_hub_parts"
_MINI = Preset(
    name="mini",
    description="The embedded models: small, trained on the Workbench, two CPU cores and no network.",
    loader="ksgen_models.mini:load_mini_parts",
    needs=("torch", "diffusers", "mediapipe"),
    extra="imagine",
)
_FAST = replace(
    _MINI,
    name="mini-fast",
    description="The embedded models with half the solver steps: sooner, and less sure.",
    arguments={"quality": "fast"},
)
_BEST = replace(
    _MINI,
    name="mini-best",
    description="The embedded models with twice the solver steps: later, and a little better.",
    arguments={"quality": "best"},
)
_HUB = Preset(
    name="",
    description="",
    loader=_HUB_LOADER,
    needs=("torch", "diffusers", "transformers", "accelerate", "mediapipe"),
    extra="imagine",
    devices=("cuda", "mps", "cpu"),
)


def _hub_preset(name: str, video: str, images: str) -> Preset:
    family, model = FAMILIES[video], IMAGE_MODELS[images]
    return replace(
        _HUB,
        name=name,
        description=f"Clips by {family.repository}, key-step images by {model.repository}, on a GPU.",
        needs=(*_HUB.needs, *family.needs),
        arguments={"video": video, "images": images},
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _MINI,
        _FAST,
        _BEST,
        *(_hub_preset(name, name, DEFAULT_IMAGES) for name in FAMILIES),
        *(_hub_preset(name, DEFAULT_VIDEO, name) for name in IMAGE_MODELS),
    )
}


def find_preset(name: str) -> Preset:
    """Look a preset up.

    Args:
        name: of the table, or ``"VIDEO+IMAGES"``.

    Raises:
        PresetError: there is none of that name; the message names the nearest, or says why it is refused.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    video, plus, images = str(name).partition("+")
    if plus and video in FAMILIES and images in IMAGE_MODELS:
        return _hub_preset(name, video, images)
    for part in (video, images):
        if part.lower() in REFUSED:
            raise PresetError(REFUSED[part.lower()])
    near = difflib.get_close_matches(str(name).lower(), PRESETS, n=1, cutoff=0.4)
    hint = f'did you mean "{near[0]}"?' if near else "choose one of: " + ", ".join(sorted(PRESETS))
    raise PresetError(f'there is no preset "{name}"; {hint}')


def load_parts(
    preset: Preset,
    device: str | None = None,
    *,
    weights: Mapping[str, str | Path] | None = None,
    settings: Any = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    download: bool = False,
) -> Parts:
    """Load the models of a preset.

    Args:
        preset: see `find_preset`.
        device: where to run; None for the preset's own choice.
        weights, settings, options, download: of hub presets, see `ksgen_models.hub.parts.load_hub_parts`; without
            settings those of the environment variable ``KSGEN_SETTINGS``.

    Raises:
        PresetError: a library that the preset needs is not installed, it does not load on this device, or it takes no
            such choice.
        WeightsMissing: its weights are not on this machine.
    """
    device = device or preset.device
    if device.partition(":")[0] not in preset.devices:
        raise PresetError(f'preset "{preset.name}" runs on {" or ".join(preset.devices)}, not on "{device}"')
    choice = {**preset.arguments, **({"device": device} if len(preset.devices) > 1 else {})}
    if preset.from_hub:
        if settings is None:
            settings = settings_of(os.environ.get(SETTINGS, ""))
        choice.update(weights=weights, settings=settings, options=options, download=download)
    elif weights or settings or options or download:
        raise PresetError(f'preset "{preset.name}" takes no weights, settings, options or download: it brings its own')
    module, _, function = preset.loader.partition(":")
    try:
        return getattr(import_module(module), function)(**choice)
    except KSGenError:
        raise
    except ImportError as exc:
        raise PresetError(
            f'preset "{preset.name}" cannot be loaded ({exc}); pip install "ksgen-agent[{preset.extra}]"'
        ) from exc
    except Exception as exc:
        raise PresetError(f'preset "{preset.name}" does not load on device "{device}": {exc}') from exc


def settings_of(text: str) -> dict[str, Any]:
    """Settings as one line of text, ``"offload=model,vae_tiling=true"``.

    Raises:
        PresetError: not of that form. Whether there are such settings is found when they are used.
    """
    settings: dict[str, Any] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = entry.partition("=")
        if not equals:
            raise PresetError(f"settings are NAME=VALUE joined by commas, and {entry!r} is not")
        settings[name.strip()] = {"true": True, "false": False}.get(value.strip().lower(), value.strip())
    return settings
