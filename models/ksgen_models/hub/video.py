"""The one adapter that makes any family of the table a `ksgen_models.interfaces.VideoGenerator`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.hub.calls import Call
from ksgen_models.hub.families import Family
from ksgen_models.hub.fit import Fit, picture_size, resample
from ksgen_models.hub.loading import named_errors, quiet
from ksgen_models.hub.settings import RunSettings, resolve_device
from ksgen_models.hub.video_settings import VideoSettings
from ksgen_models.interfaces import CheckCancelled, RegionPrediction, StepRequest, never_cancelled

_CLIP, _HELD = range(2)  # what a seed is used for


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


def prompt_of(family: Family, step: str) -> str:
    """The step's sentence as the family is told it; empty for families that read no text."""
    if family.prompt is None:
        return ""
    sentence = step.strip().rstrip(".!")
    return family.prompt.format(step=sentence[:1].lower() + sentence[1:])


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
