"""From a checkpoint to a pipeline that is ready to run, and from what goes wrong there to errors with a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ksgen_models.errors import AssetError, KSGenError, PresetError
from ksgen_models.hub.checkpoints import check_checkpoint, listed_components
from ksgen_models.hub.placing import apply_settings, quantisation_config
from ksgen_models.hub.settings import RunSettings, resolve_device, resolve_dtype


def load_pipeline(
    folder: str | Path,
    settings: RunSettings,
    *,
    pipeline: str,
    accepted: tuple[str, ...] = (),
    replaced: Mapping[str, Any] | None = None,
    keep_float32: tuple[str, ...] = (),
    place: bool = True,
) -> Any:
    """Load a diffusers pipeline from a whole checkpoint folder; touches no network.

    Args:
        folder: see `ksgen_models.hub.repositories.find_checkpoint`.
        settings: how to run.
        pipeline: name of the class in diffusers.
        accepted: other classes whose checkpoints it can read too.
        replaced: components to pass instead of those of the folder; None for a component leaves it out.
        keep_float32: components that must not be rounded, e.g. the VAE of Wan.
        place: put it on its device at once; False leaves it in the machine's memory for `TurnTaker`.

    Raises:
        PresetError: this machine cannot run it so, or the checkpoint is of another class.
        WeightsMissing: the checkpoint is not whole.
        AssetError: it is whole and does not load.
    """
    import torch

    resolve_device(settings)
    replaced = dict(replaced or {})
    loader = pipeline_class(pipeline)
    taken, _ = loader._get_signature_keys(loader)
    # What the class does not take, e.g. another one's safety checker, is neither loaded nor looked at.
    not_taken = set(listed_components(folder)) - set(taken)
    checkpoint = check_checkpoint(folder, pipeline=(pipeline, *accepted), skip={*replaced, *not_taken})
    dtypes: dict[str, Any] = dict.fromkeys(keep_float32, torch.float32)
    networks = tuple(component.name for component in checkpoint.components if component.weights)
    with named_errors(f"the checkpoint in {folder}", "load", settings), quiet():
        loaded = loader.from_pretrained(
            str(folder),
            dtype={"default": resolve_dtype(settings), **dtypes},
            quantization_config=quantisation_config(settings, networks),
            variant=checkpoint.variant,
            use_safetensors=True,
            local_files_only=True,
            **replaced,
        )
        loaded.set_progress_bar_config(disable=True)
        return apply_settings(loaded, settings) if place else loaded


def pipeline_class(name: str) -> Any:
    """A pipeline or model class of diffusers by name.

    Raises:
        PresetError: the installed diffusers has none of that name, or lacks what it needs.
    """
    import diffusers

    try:
        found = getattr(diffusers, name)
    except (AttributeError, ImportError, RuntimeError) as exc:
        raise PresetError(
            f"diffusers {diffusers.__version__} has no {name} ({exc!s:.200}); pip install -U diffusers"
        ) from exc
    if getattr(found, "_backends", None):  # the stand-in for a class whose packages are missing
        raise PresetError(f"{name} needs a package that diffusers does not find; pip install 'ksgen-agent[imagine]'")
    return found


@contextmanager
def named_errors(what: str, doing: str, settings: RunSettings) -> Iterator[None]:
    """Translate what torch, diffusers and transformers raise.

    Raises:
        PresetError: the device has too little memory; says which settings need less.
        AssetError: anything else that is not of the project's own tree.
    """
    import torch

    try:
        yield
    except KSGenError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as exc:
        raise PresetError(
            f"{what} does not {doing}: the device has too little memory ({exc!s:.200}). {_leaner(settings)}"
        ) from exc
    except Exception as exc:
        raise AssetError(f"{what} does not {doing} ({type(exc).__name__}: {exc!s:.400})") from exc


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings of diffusers and transformers while something is loaded."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    both = (of_diffusers, of_transformers)
    before = [(logging, logging.get_verbosity(), _bars(logging)) for logging in both]
    for logging in both:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, level, bars in before:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def _bars(logging: Any) -> bool:
    return bool(logging.is_progress_bar_enabled()) if hasattr(logging, "is_progress_bar_enabled") else True


def _leaner(settings: RunSettings) -> str:
    """Which settings to change, in the order of what they cost."""
    hints = []
    if settings.dtype == "float32":
        hints.append('dtype="bfloat16"')
    if not settings.vae_tiling:
        hints.append("vae_tiling=True")
    cheaper = {"none": "model", "model": "group", "group": "sequential"}.get(settings.offload)
    if cheaper:
        hints.append(f'offload="{cheaper}"')
    if settings.quantisation is None:
        hints.append('quantisation="nf4"')
    return f"Try {', '.join(hints)}" if hints else "Nothing leaner is left: take a smaller preset"
