"""Put a pipeline where and how the settings say."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, TypeVar

from ksgen_models.errors import PresetError
from ksgen_models.hub.quantisation import DENOISERS, QUANTISATIONS, is_quantised
from ksgen_models.hub.settings import RunSettings, resolve_device, resolve_dtype

_Pipeline = TypeVar("_Pipeline")


def quantisation_config(settings: RunSettings, components: tuple[str, ...]) -> Any | None:
    """What ``from_pretrained`` takes as ``quantization_config``; None without quantisation.

    Args:
        settings: how to run.
        components: names of the pipeline's components that hold networks; those that denoise or read text are taken.

    Raises:
        PresetError: its package is not installed, or it does not run on the device.
    """
    if settings.quantisation is None:
        return None
    chosen = QUANTISATIONS[settings.quantisation]
    if find_spec(chosen.package) is None:
        raise PresetError(f'quantisation "{settings.quantisation}" needs a package; run: pip install {chosen.package}')
    kind = resolve_device(settings).partition(":")[0]
    if kind not in chosen.devices:
        raise PresetError(
            f'quantisation "{settings.quantisation}" runs on {" or ".join(chosen.devices)}, not on "{kind}"; '
            "leave quantisation out"
        )
    return chosen.config([name for name in components if is_quantised(name)], resolve_dtype(settings))


def apply_settings(pipeline: _Pipeline, settings: RunSettings) -> _Pipeline:
    """Put a loaded diffusers pipeline where and how the settings say; returns it.

    dtype and quantisation are decided when weights are read: see `resolve_dtype` and `quantisation_config`.

    Raises:
        PresetError: this machine or this pipeline cannot do it; the message names the setting.
    """
    device = resolve_device(settings)
    pipe: Any = pipeline
    _slice_vae(pipe, settings)
    _choose_attention(pipe, settings.attention)
    _place(pipe, settings, device)
    if settings.compile:
        _compile(pipe)
    return pipeline


def _slice_vae(pipe: Any, settings: RunSettings) -> None:
    for setting, method in (("vae_tiling", "enable_tiling"), ("vae_slicing", "enable_slicing")):
        if not getattr(settings, setting):
            continue
        refused = f"{type(pipe).__name__} cannot do {setting}"
        enable = getattr(getattr(pipe, "vae", None), method, None)
        if enable is None:
            raise PresetError(f"{refused} (its VAE has no {method}); leave {setting} out")
        try:
            enable()
        except NotImplementedError as exc:  # diffusers' word for a VAE that has the method and not the ability
            raise PresetError(f"{refused} ({exc}); leave {setting} out") from exc


def _choose_attention(pipe: Any, attention: str) -> None:
    if attention == "auto":
        return
    for name in _denoisers(pipe):
        network = getattr(pipe, name)
        try:
            network.set_attention_backend(attention)
        except Exception as exc:
            raise PresetError(f'attention "{attention}" cannot be used here ({exc}); take attention="auto"') from exc


def _place(pipe: Any, settings: RunSettings, device: str) -> None:
    if settings.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif settings.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    elif settings.offload == "group":
        import torch

        pipe.enable_group_offload(torch.device(device), offload_type="leaf_level", use_stream=device.startswith("cuda"))
    elif settings.quantisation is None or QUANTISATIONS[settings.quantisation].moves:
        pipe.to(device)
    # bitsandbytes puts the quantised networks on the device itself and refuses to be moved; the rest follows.
    else:
        for component in pipe.components.values():
            if hasattr(component, "to") and not getattr(component, "quantization_method", None):
                component.to(device)


def _compile(pipe: Any) -> None:
    import torch

    for name in _denoisers(pipe):
        network = getattr(pipe, name)
        if getattr(network, "_repeated_blocks", None):
            network.compile_repeated_blocks()
        else:
            setattr(pipe, name, torch.compile(network))


def _denoisers(pipe: Any) -> tuple[str, ...]:
    found = tuple(name for name in DENOISERS if getattr(pipe, name, None) is not None)
    if not found:
        raise PresetError(f"{type(pipe).__name__} has no {' or '.join(DENOISERS)}; these settings cannot be applied")
    return found
