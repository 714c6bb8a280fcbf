"""Memory and speed of hub pipelines: one vocabulary for all of them, over what diffusers has.

`RunSettings` says how to run; `ksgen_models.hub.placing` does it to a pipeline, `ksgen_models.hub.memory` says what it
costs. What cannot be done on this machine is a `PresetError` before any weight is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ksgen_models.errors import PresetError
from ksgen_models.hub.quantisation import QUANTISATIONS

DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential", "group")


@dataclass(frozen=True)
class RunSettings:
    """How to run a pipeline.

    Attributes:
        dtype: of weights and activations. ``"auto"`` is bfloat16 on a GPU that computes it, float16 on other GPUs,
            float32 on the CPU.
        device: ``"auto"`` (the first GPU, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        offload: what waits in the machine's memory: ``"none"``; ``"model"``, all components but the one at work;
            ``"group"``, all blocks but the one at work and the next; ``"sequential"``, all layers but the one at work,
            least memory and slowest. All but ``"none"`` need a GPU.
        vae_tiling: the VAE works on overlapping tiles of the picture.
        vae_slicing: the VAE works on one batch item at a time.
        attention: ``"auto"`` for diffusers' own choice, else the name of one of its attention backends, e.g.
            ``"native"``, ``"flash"``, ``"sage"``.
        compile: compile the blocks of the denoising network with `torch.compile`; the first call takes minutes.
        quantisation: None or a name in `QUANTISATIONS`; for the denoising network and the text encoders.

    Raises:
        PresetError: a value that is not one of these.
    """

    dtype: str = "auto"
    device: str = "auto"
    offload: str = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    attention: str = "auto"
    compile: bool = False
    quantisation: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is no setting."""
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("offload", self.offload, OFFLOADS)
        if self.quantisation is not None:
            _one_of("quantisation", self.quantisation, tuple(QUANTISATIONS))


def settings_from(choices: Mapping[str, Any], base: RunSettings | None = None) -> RunSettings:
    """Settings out of a mapping, e.g. of a configuration file; what it does not name stays as in ``base``.

    Raises:
        PresetError: a name or value that is no setting.
    """
    known = {field.name: getattr(base or RunSettings(), field.name) for field in fields(RunSettings)}
    strange = sorted(set(choices) - set(known))
    if strange:
        raise PresetError(f"there is no setting {', '.join(strange)}; the settings are {', '.join(known)}")
    return RunSettings(**{**known, **choices})


def resolve_device(settings: RunSettings) -> str:
    """The device that the settings mean, as torch calls it.

    Raises:
        PresetError: it is not on this machine, or the offload needs a GPU.
    """
    import torch

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not there:
            raise PresetError(f'device "{device}" was asked for and torch sees no GPU here; take device="cpu"')
        if index and int(index) >= there:
            raise PresetError(f'there is no device "{device}", the last GPU is cuda:{there - 1}')
    elif kind == "mps":
        if not torch.backends.mps.is_available():
            raise PresetError('device "mps" was asked for and is not here; take device="cpu"')
    elif kind != "cpu":
        raise PresetError(f'there is no device "{device}"; name "auto", "cpu", "cuda", "cuda:0" or "mps"')
    if kind == "cpu" and settings.offload != "none":
        raise PresetError(f'offload "{settings.offload}" needs a GPU and this is the CPU; take offload="none"')
    return device


def resolve_dtype(settings: RunSettings) -> Any:
    """The `torch.dtype` that the settings mean on their device.

    Raises:
        PresetError: as `resolve_device`.
    """
    import torch

    if settings.dtype != "auto":
        return getattr(torch, settings.dtype)
    device = resolve_device(settings)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float16 if device == "mps" else torch.float32


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PresetError(f"{what} {value!r} is not known; choose one of {', '.join(known)}")
