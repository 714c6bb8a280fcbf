"""The families of image pipelines that draw key-step images: how each is asked, at what size, how hard it tries.

Key-step image k shows the scene after k steps, so every prompt speaks of what has been done, not of doing it.
Everything here can be changed for a run: see `with_changes`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ksgen_models.errors import PresetError

MEGAPIXEL = 1024 * 1024


@dataclass(frozen=True)
class GeneratorFamily:
    """A text-to-image family that starts from the camera frame and takes the Skill Transformer's tokens.

    Attributes:
        pipeline: class that the checkpoint was saved from.
        runs_as: its class that starts from a picture; it has the same components.
        prompt: ``{step}`` is the step's sentence.
        negative_prompt: what guidance leads away from.
        area: pixels of the picture that is drawn; its sides have the frame's ratio.
        solver_steps: of the whole schedule, of which the share ``strength`` is run.
        guidance: classifier-free guidance; 1 is none and half the work.
        strength: how much noise the camera frame is given at the start, in (0, 1]; 1 keeps nothing of it.
    """

    pipeline: str
    runs_as: str
    prompt: str = "{step}, done. Photo of the same scene right after this step, from the same camera"
    negative_prompt: str = "blurry, deformed hands, extra fingers, text, watermark, another camera angle"
    area: int = MEGAPIXEL
    solver_steps: int = 30
    guidance: float = 5.0
    strength: float = 0.8


@dataclass(frozen=True)
class EditorFamily:
    """A family that edits a picture by an instruction.

    Attributes:
        pipeline: class of the checkpoint, which also runs.
        prompt: ``{step}`` is the step's sentence.
        guidance: how closely the instruction is followed, under the name ``guidance_argument``.
        guidance_argument: the pipeline's name for it.
        negative_prompt: what guidance leads away from; None where the family has none.
        area, multiple: pixels of the picture that is drawn, and what its sides are multiples of.
        solver_steps: as many.
        arguments: further arguments of the pipeline's call, given height and width.
        components: components that are not loaded as diffusers would, given the checkpoint's folder.
    """

    pipeline: str
    prompt: str
    guidance: float
    guidance_argument: str
    negative_prompt: str | None = None
    area: int = MEGAPIXEL
    multiple: int = 16
    solver_steps: int = 28
    arguments: Callable[[int, int], Mapping[str, Any]] = field(default=lambda height, width: {})
    components: Callable[[Path], Mapping[str, Any]] = field(default=lambda folder: {})


def _without_videos(folder: Path) -> Mapping[str, Any]:
    from ksgen_models.hub.kig.qwen_pictures import picture_processor

    return picture_processor(folder)


GENERATORS: dict[str, GeneratorFamily] = {
    family.pipeline: family
    for family in (
        GeneratorFamily("StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"),
        GeneratorFamily("KolorsPipeline", "KolorsImg2ImgPipeline"),
    )
}
"""By the class of the checkpoint."""

EDITORS: dict[str, EditorFamily] = {
    family.pipeline: family
    for family in (
        EditorFamily(
            pipeline="FluxKontextPipeline",
            # Kontext's makers advise to name what must stay.
            prompt="{step}. Show the scene right after this has been done, while keeping the camera angle, the "
            "framing, the lighting, the background and every other object exactly as they are.",
            guidance=2.5,
            guidance_argument="guidance_scale",
            # The pipeline would choose a size of its own; the family's is as good and keeps the frame's ratio.
            arguments=lambda height, width: {"max_area": height * width, "_auto_resize": False},
        ),
        EditorFamily(
            pipeline="QwenImageEditPipeline",
            prompt="{step}. Show the result right after this step. Keep the viewpoint, the background and all other "
            "objects unchanged.",
            guidance=4.0,
            guidance_argument="true_cfg_scale",
            negative_prompt=" ",  # without one the pipeline does not guide at all
            solver_steps=50,
            components=_without_videos,
        ),
    )
}
"""By the class of the checkpoint."""

_Family = TypeVar("_Family", GeneratorFamily, EditorFamily)


def find_family(pipeline: str) -> GeneratorFamily | EditorFamily:
    """The family of a checkpoint's pipeline class.

    Raises:
        PresetError: key-step images cannot be drawn with it; names those that can.
    """
    known = {**GENERATORS, **EDITORS}
    if pipeline in known:
        return known[pipeline]
    raise PresetError(f"no key-step images can be drawn with a {pipeline}; name a checkpoint of {', '.join(known)}")


def with_changes(family: _Family, changes: Mapping[str, Any]) -> _Family:
    """The family with some of its settings changed, e.g. ``{"solver_steps": 20}``.

    Raises:
        PresetError: there is no such setting; the message names the nearest.
    """
    known = [entry.name for entry in fields(family) if entry.name not in ("pipeline", "runs_as")]
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise PresetError(f"{family.pipeline} has no setting {name!r}; {hint}")
    changed = replace(family, **changes)
    if "{step}" not in changed.prompt:
        raise PresetError(f"the prompt {changed.prompt!r} does not say where the step's sentence goes: write {{step}}")
    if changed.area < 1 or changed.solver_steps < 1:
        raise PresetError(f"area and solver_steps must be at least 1, got {changed.area} and {changed.solver_steps}")
    if isinstance(changed, GeneratorFamily):
        _check_strength(changed)
    return changed


def _check_strength(family: GeneratorFamily) -> None:
    if not 0.0 < family.strength <= 1.0:
        raise PresetError(f"strength must lie in (0, 1], got {family.strength}")
    if int(family.solver_steps * family.strength) < 1:
        raise PresetError(
            f"of {family.solver_steps} solver steps a strength of {family.strength} leaves none to run; raise either"
        )


def prompt_of(family: GeneratorFamily | EditorFamily, step: str) -> str:
    """What a family is told of a step; training uses the same words."""
    return family.prompt.replace("{step}", step.strip().rstrip(".!"))
