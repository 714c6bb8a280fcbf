"""The presets by name: which models an `Agent` is made of and how they are loaded."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module

from ksgen_models.errors import KSGenError, PresetError
from ksgen_models.interfaces import Parts


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
    """

    name: str
    description: str
    loader: str
    needs: tuple[str, ...]
    extra: str
    devices: tuple[str, ...] = ("cpu",)

    @property
    def device(self) -> str:
        """Where it runs unless told otherwise."""
        return self.devices[0]


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            description="The embedded models: small, trained on the Workbench, two CPU cores and no network.",
            loader="ksgen_models.mini:load_mini_parts",
            needs=("torch", "diffusers", "mediapipe"),
            extra="imagine",
        ),
    )
}


def find_preset(name: str) -> Preset:
    """Look a preset up.

    Raises:
        PresetError: there is none of that name; the message names the nearest.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(str(name).lower(), PRESETS, n=1, cutoff=0.4)
    hint = f'did you mean "{near[0]}"?' if near else "choose one of: " + ", ".join(sorted(PRESETS))
    raise PresetError(f'there is no preset "{name}"; {hint}')


def load_parts(preset: Preset, device: str | None = None) -> Parts:
    """Load the models of a preset.

    Raises:
        PresetError: a library that the preset needs is not installed, or it does not load on this device.
        WeightsMissing: its weights are not on this machine.
    """
    device = device or preset.device
    if device.partition(":")[0] not in preset.devices:
        raise PresetError(f'preset "{preset.name}" runs on {" or ".join(preset.devices)}, not on "{device}"')
    choice = {"device": device} if len(preset.devices) > 1 else {}
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
