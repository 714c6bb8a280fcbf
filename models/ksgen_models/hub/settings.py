"""Memory and speed of hub pipelines: one vocabulary for all of them, over what diffusers has.

`RunSettings` says how to run, `apply_settings` does it to any diffusers pipeline, `expected_memory_gb` says what that
costs. What cannot be done on this machine is a `PresetError` before any weight is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, TypeVar

from ksgen_models.errors import PresetError

DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential", "group")
DENOISERS = ("transformer", "transformer_2", "unet")
"""Names under which diffusers pipelines hold the network that the solver calls."""

BYTES_OF_DTYPE = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_BLOCKS_ON_DEVICE = 0.05
"""Share of the largest component that sequential and group offload keep on the device: a block or two of about 40."""

_Pipeline = TypeVar("_Pipeline")


@dataclass(frozen=True)
class Quantisation:
    """One way to store weights in fewer bits.

    Attributes:
        backend, options: as `diffusers.PipelineQuantizationConfig` takes them.
        package: the import name that it needs.
        install: its name for pip.
        bytes: of one weight.
        devices: kinds of devices it runs on.
    """

    backend: str
    options: Callable[[Any], Mapping[str, Any]]
    package: str
    install: str
    bytes: float
    devices: tuple[str, ...]


QUANTISATIONS: dict[str, Quantisation] = {
    "int8": Quantisation(
        "bitsandbytes_8bit", lambda dtype: {"load_in_8bit": True}, "bitsandbytes", "bitsandbytes", 1.0, ("cuda",)
    ),
    "nf4": Quantisation(
        "bitsandbytes_4bit",
        lambda dtype: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype},
        "bitsandbytes",
        "bitsandbytes",
        0.55,
        ("cuda",),
    ),
}
"""The quantisations by name; all keep activations in the run's dtype."""


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
    if find_spec(chosen.package.partition(".")[0]) is None:
        raise PresetError(f'quantisation "{settings.quantisation}" needs a package; run: pip install {chosen.install}')
    kind = resolve_device(settings).partition(":")[0]
    if kind not in chosen.devices:
        raise PresetError(
            f'quantisation "{settings.quantisation}" runs on {" or ".join(chosen.devices)}, not on "{kind}"; '
            "leave quantisation out"
        )
    from diffusers import PipelineQuantizationConfig

    return PipelineQuantizationConfig(
        quant_backend=chosen.backend,
        quant_kwargs=dict(chosen.options(resolve_dtype(settings))),
        components_to_quantize=[name for name in components if _is_quantised(name)],
    )


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


def expected_memory_gb(weights: Mapping[str, float], working: float, settings: RunSettings) -> float:
    """Memory of the device that a run takes, in GB.

    Args:
        weights: GB of every component's weights at 16 bits a weight.
        working: GB of activations at the size and length of the run.
        settings: how to run; ``"auto"`` dtype counts as 16 bits.

    Returns:
        Weights that are on the device together, plus ``working``. An estimate from sizes, not a measurement.
    """
    stored = {name: size * _bytes_of(name, settings) / 2.0 for name, size in weights.items()}
    largest = max(stored.values(), default=0.0)
    resident = {
        "none": sum(stored.values()),
        "model": largest,
        "group": 2 * _BLOCKS_ON_DEVICE * largest,
        "sequential": _BLOCKS_ON_DEVICE * largest,
    }
    return resident[settings.offload] + working


def _bytes_of(component: str, settings: RunSettings) -> float:
    if settings.quantisation is not None and _is_quantised(component):
        return QUANTISATIONS[settings.quantisation].bytes
    return BYTES_OF_DTYPE.get(settings.dtype, 2.0)


def _is_quantised(component: str) -> bool:
    return component in DENOISERS or component.startswith("text_encoder")


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
    elif settings.quantisation is None:
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


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PresetError(f"{what} {value!r} is not known; choose one of {', '.join(known)}")
