"""The one adapter that makes any family of the table a `ksgen_models.interfaces.VideoGenerator`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import PresetError
from ksgen_models.hub.checkpoints import PIPELINE_FILES, check_class, find_checkpoint
from ksgen_models.hub.families import FAMILIES, NEGATIVE, REFUSED, Call, Family, refusal
from ksgen_models.hub.fit import FITS, Fit, picture_size, resample
from ksgen_models.hub.loading import load_pipeline, named_errors, pipeline_class, quiet
from ksgen_models.hub.settings import RunSettings, resolve_device
from ksgen_models.interfaces import CheckCancelled, RegionPrediction, StepRequest, never_cancelled

HOLDS = ("pixels", "latents", "none")
_CLIP, _HELD = range(2)  # what a seed is used for


@dataclass(frozen=True)
class VideoSettings:
    """How clips are drawn; None takes what the family's authors advise.

    Attributes:
        steps: of the solver.
        guidance: classifier-free, in the family's own scale.
        size: (height, width) to draw at; both multiples of the family's ``multiple``.
        frames: to draw; of the family's rule.
        clip_frames: of the clips handed on, evenly out of those drawn.
        fit: ``"letterbox"`` or ``"crop"``, see `ksgen_models.hub.fit.Fit`.
        hold: what lies outside the predicted region: ``"pixels"``, latents are held while drawing and pixels come from
            the key-step image; ``"latents"``, only the first; ``"none"``.
        threshold: probability of change from which on a pixel may move.
        dilation: by which that region is grown, as a share of the picture's short side.
        feather: pixels over which what was drawn fades in from the region's edge.
        use_goal: tell families that can take it how the step ends.
        negative: what the clip is not to show.
        decoded_at_once: frames that the VAE decodes together, for families that leave a choice.
        guardrail: use the safety checker that a family's licence asks for.
    """

    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None
    frames: int | None = None
    clip_frames: int = 16
    fit: str = "letterbox"
    hold: str = "pixels"
    threshold: float = 0.3
    dilation: float = 0.03
    feather: int = 4
    use_goal: bool = True
    negative: str = NEGATIVE
    decoded_at_once: int = 4
    guardrail: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.fit not in FITS or self.hold not in HOLDS:
            raise PresetError(f"fit is one of {', '.join(FITS)} and hold one of {', '.join(HOLDS)}")
        for name, least in (("steps", 1), ("frames", 1), ("clip_frames", 2), ("decoded_at_once", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise PresetError(f"{name} must be at least {least}, got {value}")

    def for_family(self, family: Family) -> VideoSettings:
        """With the family's own values for what is None.

        Raises:
            PresetError: a size or length that the family cannot draw; names the nearest that it can.
        """
        frames = family.frames if self.frames is None else self.frames
        shortest = family.stride + family.offset
        if frames < shortest or (frames - family.offset) % family.stride:
            near = max((frames - family.offset) // family.stride, 1) * family.stride + family.offset
            rule = f"{family.stride}k + {family.offset}" if family.stride > 1 else "any number"
            raise PresetError(f"{family.name} draws {rule} frames, not {frames}; the nearest is {near}")
        for side in self.size or ():
            if side < 1 or side % family.multiple:
                near = max(round(side / family.multiple), 1) * family.multiple
                raise PresetError(
                    f"{family.name} draws sides of multiples of {family.multiple}, not {side}; take {near}"
                )
        return replace(
            self,
            frames=frames,
            steps=family.steps if self.steps is None else self.steps,
            guidance=family.guidance if self.guidance is None else self.guidance,
        )


def video_settings(choices: Mapping[str, Any] | VideoSettings | None) -> VideoSettings:
    """Settings out of a mapping, e.g. of a configuration file.

    Raises:
        PresetError: a name or value that is no setting.
    """
    if isinstance(choices, VideoSettings):
        return choices
    known = [entry.name for entry in fields(VideoSettings)]
    strange = sorted(set(choices or {}) - set(known))
    if strange:
        raise PresetError(f"there is no video setting {', '.join(strange)}; there are {', '.join(known)}")
    return VideoSettings(**(choices or {}))


def find_video_family(name: str) -> Family:
    """A family by name.

    Raises:
        PresetError: there is none; says why where that is known.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    raise PresetError(REFUSED.get(name) or f'there is no video family "{name}"; there are {", ".join(FAMILIES)}')


@dataclass(frozen=True)
class HubVideoGenerator:
    """Draws clips with a diffusers pipeline; satisfies `ksgen_models.interfaces.VideoGenerator`.

    Attributes:
        family: of the pipeline.
        pipeline: loaded, see `load_video_generator`.
        settings: how it runs.
        options: how it draws, made for the family.
        folder: of the checkpoint.
    """

    family: Family
    pipeline: Any
    settings: RunSettings
    options: VideoSettings
    folder: Path

    @property
    def fps(self) -> float:
        """Frames a second of the clips: those drawn, thinned out to ``clip_frames`` over the same time."""
        drawn = (self.options.frames or self.family.frames) - self.family.lost(self.pipeline)
        return self.family.fps * (self.options.clip_frames - 1) / max(drawn - 1, 1)

    def generate(
        self,
        request: StepRequest,
        region: RegionPrediction,
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.VideoGenerator`.

        Raises:
            PresetError: the device has too little memory; says which settings need less.
            Cancelled: ``check_cancelled`` raised it, at the latest after one more solver step.
        """
        from ksgen_models.hub.guidance import composite, free_region

        check_cancelled()
        fit = self._fit(request.image)
        free = np.ones(request.image.shape[:2], bool)
        if self.options.hold != "none":
            free = free_region(region, self.options.threshold, self.options.dilation)
        drawn = self._draw(request, fit, free, check_cancelled)
        clip = fit.from_picture(resample(drawn, self.options.clip_frames), request.image)
        if self.options.hold == "pixels":
            clip = composite(clip, request.image, free, self.options.feather)
        clip[0] = request.image
        return clip

    def _draw(
        self, request: StepRequest, fit: Fit, free: NDArray[np.bool_], check_cancelled: CheckCancelled
    ) -> NDArray[np.uint8]:
        """(T, h, w, 3) uint8 at the family's size."""
        import torch

        from ksgen_models.hub.guidance import make_hold

        family, pipe = self.family, self.pipeline
        image = fit.to_picture(request.image)
        free = fit.mask_to_picture(free)
        call = self._call(request, fit, image, free)
        try:
            with named_errors(f"the video model {family.name}", "draw", self.settings), quiet(), torch.no_grad():
                hold = make_hold(
                    pipe,
                    family,
                    check_cancelled,
                    image=image,
                    free=free,
                    frames=call.frames,
                    generator=_generator(request, _HELD),
                )
                told = {} if family.hold == "step" else {"callback_on_step_end": hold.at_step_end}
                around = hold.around_step() if family.hold == "step" else nullcontext()
                with around, _seeded(call.generator, self.settings):
                    frames = pipe(**family.arguments(call), **told, output_type="np").frames[0]
        finally:
            pipe.maybe_free_model_hooks()  # the pipelines leave that out when they are cancelled
        return (np.clip(np.asarray(frames, np.float32), 0.0, 1.0) * 255.0).round().astype(np.uint8)

    def _call(self, request: StepRequest, fit: Fit, image: NDArray[np.uint8], free: NDArray[np.bool_]) -> Call:
        from PIL import Image

        options, family = self.options, self.family
        takes_goal = options.use_goal and family.goal(self.pipeline)
        assert options.frames is not None, "made for the family"
        assert options.steps is not None, "made for the family"
        assert options.guidance is not None, "made for the family"
        return Call(
            image=Image.fromarray(image),
            goal=Image.fromarray(fit.to_picture(request.goal)) if takes_goal else None,
            free=free,
            prompt=prompt_of(family, request.description),
            negative=options.negative,
            height=fit.picture[0],
            width=fit.picture[1],
            frames=options.frames,
            fps=family.fps,
            steps=options.steps,
            guidance=options.guidance,
            generator=_generator(request, _CLIP),
            decoded_at_once=options.decoded_at_once,
        )

    def _fit(self, image: NDArray[np.uint8]) -> Fit:
        height, width = image.shape[:2]
        family = self.family
        size = self.options.size or picture_size((height, width), family.size, family.multiple, fixed=family.fixed)
        return Fit((height, width), size, self.options.fit)


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
            repository. See `ksgen_models.hub.checkpoints.find_checkpoint`.
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
    replaced = _guardrail(family, options)
    revision = family.revision if source is None else None
    folder = find_checkpoint(source or family.repository, revision, download=download, patterns=PIPELINE_FILES)
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


def prompt_of(family: Family, step: str) -> str:
    """The step's sentence as the family is told it; empty for families that read no text."""
    if family.prompt is None:
        return ""
    sentence = step.strip().rstrip(".!")
    return family.prompt.format(step=sentence[:1].lower() + sentence[1:])


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
    from ksgen_models.hub.settings import resolve_dtype

    assert family.companion is not None, "asked for only where there is one"
    name, class_name, repository = family.companion
    folder = find_checkpoint(source or repository, download=download)
    with named_errors(f"the checkpoint in {folder}", "load", settings), quiet():
        loader = pipeline_class(class_name)
        return {
            name: loader.from_pretrained(
                str(folder), dtype=resolve_dtype(settings), use_safetensors=True, local_files_only=True
            )
        }


@contextmanager
def _seeded(generator: Any, settings: RunSettings) -> Iterator[None]:
    """Some pipelines draw from torch's own generators beside the one they are given: for repeatable clips seed those
    too, and leave them afterwards as they were."""
    import torch

    device = torch.device(resolve_device(settings))
    with torch.random.fork_rng([] if device.type == "cpu" else [device.index or 0], device_type=device.type):
        torch.manual_seed(generator.initial_seed())
        yield


def _generator(request: StepRequest, use: int) -> Any:
    """Noise on the CPU, so that a seed gives the same on every kind of device."""
    import torch

    state = np.random.SeedSequence([use, *request.noise_key]).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state) & (2**63 - 1))
