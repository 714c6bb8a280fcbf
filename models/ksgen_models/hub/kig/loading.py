"""From a checkpoint on this machine to a key-step image generator that is ready to draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ksgen_models.errors import PresetError
from ksgen_models.hub.checkpoints import check_checkpoint
from ksgen_models.hub.kig.adapter import SkillAdapter
from ksgen_models.hub.kig.editing import EditingImageGenerator, Holding
from ksgen_models.hub.kig.families import EditorFamily, GeneratorFamily, find_family, with_changes
from ksgen_models.hub.kig.generator import SkillImageGenerator
from ksgen_models.hub.loading import load_pipeline, named_errors, pipeline_class, quiet
from ksgen_models.hub.placing import apply_settings
from ksgen_models.hub.repositories import find_checkpoint
from ksgen_models.hub.settings import RunSettings


def load_image_generator(
    source: str | Path,
    adapter: str | Path | None = None,
    *,
    settings: RunSettings | None = None,
    revision: str | None = None,
    changes: Mapping[str, Any] | None = None,
    scale: float = 1.0,
    hold_still: bool = True,
) -> SkillImageGenerator | EditingImageGenerator:
    """Load a KIG of whichever family the checkpoint is; touches no network.

    Args:
        source: a folder in diffusers' layout, or a hub repository that is in the hub's cache.
        adapter: folder of a trained `SkillAdapter`; None draws with SDXL or Kolors as they come.
        settings: dtype, device, offload and the rest.
        revision: of the repository.
        changes: of the family's settings, e.g. ``{"solver_steps": 20, "strength": 0.7}``; see
            `ksgen_models.hub.kig.families`.
        scale: of the adapter's tokens.
        hold_still: for editing families: keep what an edit did not change byte by byte.

    Raises:
        WeightsMissing: the checkpoint or the adapter is not here or not whole; says what to run.
        PresetError: the checkpoint is of no family that draws key-step images, the adapter does not belong to it, or
            this machine cannot run it so.
        AssetError: it is whole and does not load.
    """
    settings = settings or RunSettings()
    folder = find_checkpoint(source, revision)
    family = find_family(check_checkpoint(folder).pipeline)
    if isinstance(family, EditorFamily):
        if adapter is not None:
            raise PresetError(
                f"a {family.pipeline} edits by instruction and takes no KIG adapter; leave the adapter out"
            )
        with named_errors(f"the checkpoint in {folder}", "load", settings), quiet():
            components = family.components(folder)
        pipeline = load_pipeline(folder, settings, pipeline=family.pipeline, replaced=components)
        holding = Holding() if hold_still else None
        return EditingImageGenerator(pipeline, with_changes(family, changes or {}), holding, settings)
    return _load_generator(folder, with_changes(family, changes or {}), adapter, settings, scale)


def _load_generator(
    folder: Path, family: GeneratorFamily, adapter: str | Path | None, settings: RunSettings, scale: float
) -> SkillImageGenerator:
    trained = None if adapter is None else SkillAdapter.load(adapter)  # before gigabytes are read for nothing
    loaded = load_pipeline(folder, settings, pipeline=family.pipeline, place=False)
    pipeline = starting_from_a_picture(loaded, family)
    if trained is not None:
        trained.install(pipeline, family.pipeline, scale)
    return SkillImageGenerator(apply_settings(pipeline, settings), family, trained, settings)


def starting_from_a_picture(pipeline: Any, family: GeneratorFamily) -> Any:
    """The same components in the family's image-to-image pipeline."""
    made = pipeline_class(family.runs_as)(
        **pipeline.components, force_zeros_for_empty_prompt=pipeline.config["force_zeros_for_empty_prompt"]
    )
    made.set_progress_bar_config(disable=True)
    return made
