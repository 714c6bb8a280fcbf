"""From a video family's checkpoint to a generator that is ready to draw."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import PresetError
from ksgen_models.hub.checkpoints import check_class
from ksgen_models.hub.families import FAMILIES, Family
from ksgen_models.hub.loading import load_pipeline, named_errors, pipeline_class, quiet
from ksgen_models.hub.published import pipeline_files
from ksgen_models.hub.refused import REFUSED, refusal
from ksgen_models.hub.repositories import find_checkpoint
from ksgen_models.hub.settings import RunSettings, resolve_dtype
from ksgen_models.hub.video import HubVideoGenerator
from ksgen_models.hub.video_settings import VideoSettings, video_settings

COMPANION_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
"""What of a companion's repository is loaded."""


def find_video_family(name: str) -> Family:
    """A family by name.

    Raises:
        PresetError: there is none; says why where that is known.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    raise PresetError(REFUSED.get(name) or f'there is no video family "{name}"; there are {", ".join(FAMILIES)}')


def load_video_generator(
    family: Family | str,
    source: str | Path | None = None,
    *,
    companion: str | Path | None = None,
    settings: RunSettings | None = None,
    options: VideoSettings | Mapping[str, Any] | None = None,
    download: bool = False,
) -> HubVideoGenerator:
    """Load a family's pipeline from a checkpoint.

    Args:
        family: or its name.
        source: folder, or ``"owner/name"`` or ``"owner/name@revision"`` on the hub; None for the family's own
            repository. See `ksgen_models.hub.repositories.find_checkpoint`.
        companion: the same for the family's second checkpoint, where it has one.
        settings: how to run.
        options: how to draw.
        download: fetch what is not on this machine.

    Raises:
        PresetError: no such family, a checkpoint of another one, or this machine cannot run it so.
        WeightsMissing: a checkpoint is not here, or not whole.
        AssetError: it is whole and does not load.
    """
    family = find_video_family(family) if isinstance(family, str) else family
    settings = settings or RunSettings()
    options = video_settings(options).for_family(family)
    missing = [name for name in family.needs if find_spec(name) is None]
    if missing:
        raise PresetError(f"{family.name} needs {', '.join(missing)}; pip install 'ksgen-agent[imagine]'")
    replaced = {**dict.fromkeys(family.unused), **_guardrail(family, options)}
    revision, files = (family.revision, family.files) if source is None else (None, pipeline_files())
    folder = find_checkpoint(source or family.repository, revision, download=download, patterns=files)
    saved_as = check_class(folder)
    if (reason := refusal(saved_as)) is not None and saved_as not in family.accepted:
        raise PresetError(f"{folder} cannot be used: {reason}")
    check_class(folder, (family.pipeline, *family.accepted))  # before diffusers is loaded
    if family.companion is not None and saved_as != family.pipeline:
        replaced = {**replaced, **_companion(family, companion, settings, download)}
    pipeline = load_pipeline(
        folder,
        settings,
        pipeline=family.pipeline,
        accepted=family.accepted,
        replaced=replaced,
        keep_float32=family.float32,
    )
    family.mend(pipeline)
    return HubVideoGenerator(family, pipeline, settings, options, folder)


class NoGuardrail:
    """Stands in the place of Cosmos' safety checker where the caller has chosen to do without: it lets all pass."""

    def to(self, device: Any) -> NoGuardrail:
        """Nothing to move."""
        return self

    def check_text_safety(self, prompt: str) -> bool:
        """Always True."""
        return True

    def check_video_safety(self, video: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The video as it is."""
        return video


def _guardrail(family: Family, options: VideoSettings) -> dict[str, Any]:
    if not family.guardrail:
        return {}
    if not options.guardrail:
        return {"safety_checker": NoGuardrail()}
    if find_spec("cosmos_guardrail") is None:
        raise PresetError(
            f"{family.name} comes with a safety checker, which its licence ({family.licence}) asks for: pip install "
            "cosmos_guardrail, or take the responsibility yourself with the video setting guardrail=False"
        )
    return {}


def _companion(family: Family, source: str | Path | None, settings: RunSettings, download: bool) -> dict[str, Any]:
    assert family.companion is not None, "asked for only where there is one"
    name, class_name, repository = family.companion
    folder = find_checkpoint(source or repository, download=download, patterns=COMPANION_FILES)
    with named_errors(f"the checkpoint in {folder}", "load", settings), quiet():
        loader = pipeline_class(class_name)
        return {
            name: loader.from_pretrained(
                str(folder), dtype=resolve_dtype(settings), use_safetensors=True, local_files_only=True
            )
        }
