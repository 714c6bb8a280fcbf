"""The KIG on SDXL and Kolors: all key-step images of a plan, started from the camera frame.

Image k is drawn by the family's image-to-image pipeline from the camera frame's latents, with the same noise for every
step, told the sentence of step k and, by the Skill Transformer's tokens, the frame and all the other steps. Starting
from the frame is what keeps camera and background with a pretrained generator as it comes; concatenating the frame's
latents would need the whole UNet trained before it draws anything. The same noise for all steps makes pictures that
differ where the steps do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ksgen_models.errors import InvalidInput
from ksgen_models.hub.kig.adapter import SkillAdapter
from ksgen_models.hub.kig.families import GeneratorFamily, prompt_of
from ksgen_models.hub.kig.pictures import back_to, checked_frame, drawn_size, generator_of, resized
from ksgen_models.hub.kig.telling import frame_latents, step_states
from ksgen_models.hub.loading import named_errors, quiet
from ksgen_models.hub.settings import RunSettings
from ksgen_models.interfaces import CheckCancelled, never_cancelled

_FRAME, _NOISE = range(2)


@dataclass(frozen=True)
class SkillImageGenerator:
    """Satisfies `ksgen_models.interfaces.KeyStepImageGenerator`.

    Attributes:
        pipeline: of the class ``family.runs_as``, placed, with ``adapter`` installed.
        family: how it is asked.
        adapter: the trained part; None draws from frame and sentence alone, each step for itself.
        settings: what the pipeline was placed with.
    """

    pipeline: Any
    family: GeneratorFamily
    adapter: SkillAdapter | None = None
    settings: RunSettings = field(default_factory=RunSettings)

    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.KeyStepImageGenerator`.

        Raises:
            InvalidFrame: the frame is not RGB uint8 (H, W, 3).
            InvalidInput: the plan is longer than the adapter was made for.
            PresetError: the device has too little memory; says which settings need less.
            Cancelled: ``check_cancelled`` raised it, at the latest after one more solver step.
        """
        checked_frame(frame)
        if isinstance(steps, str):
            raise InvalidInput(f"steps are a tuple of sentences, got the single string {steps[:60]!r}")
        pictures = [frame]
        with named_errors(f"the KIG on {self.family.pipeline}", "draw", self.settings), quiet(), torch.no_grad():
            try:
                pictures += self._draw(frame, steps, seed, check_cancelled) if steps else []
            finally:
                self.pipeline.maybe_free_model_hooks()  # the pipelines leave that out when they are cancelled
        return np.stack(pictures)

    def _draw(
        self, frame: NDArray[np.uint8], steps: tuple[str, ...], seed: int, check_cancelled: CheckCancelled
    ) -> list[NDArray[np.uint8]]:
        check_cancelled()
        height, width = drawn_size(frame.shape[0], frame.shape[1], self.family.area, self._multiple())
        start = frame_latents(self.pipeline, resized(frame, height, width), generator_of(seed, _FRAME))
        prompts = [prompt_of(self.family, step) for step in steps]
        tokens = self._tokens(start, prompts)
        drawn = []
        for index, prompt in enumerate(prompts):
            check_cancelled()
            told = None if tokens is None else tokens[index]
            drawn.append(back_to(self._draw_one(start, prompt, told, seed, check_cancelled), frame))
        return drawn

    def _tokens(self, start: Tensor, prompts: list[str]) -> Tensor | None:
        """(S, Q, D): what the pictures know of each other, they know from here."""
        if self.adapter is None:
            return None
        return self.adapter.tokens(start, *step_states(self.pipeline, prompts))

    def _draw_one(
        self, start: Tensor, prompt: str, tokens: Tensor | None, seed: int, check_cancelled: CheckCancelled
    ) -> NDArray[np.float32]:
        # One at a time: diffusers repeats a call's condition tokens for each of its prompts, and mixes them silently.
        family, pipeline = self.family, self.pipeline
        size = tuple(side * pipeline.vae_scale_factor for side in start.shape[-2:])
        told = {} if tokens is None else {"ip_adapter_image_embeds": [self._with_untold(tokens)]}
        return pipeline(
            prompt=prompt,
            negative_prompt=family.negative_prompt,
            image=start,
            strength=family.strength,
            num_inference_steps=family.solver_steps,
            guidance_scale=family.guidance,
            generator=generator_of(seed, _NOISE),
            original_size=size,
            target_size=size,
            callback_on_step_end=checking(check_cancelled),
            output_type="np",
            **told,
        ).images[0]

    def _with_untold(self, tokens: Tensor) -> Tensor:
        """(Q, D) → (1 or 2, 1, Q, D): for guidance, zeros first, as the pipelines take negative embeddings."""
        told = tokens[None, None].to(self.pipeline.unet.dtype)
        guided = self.family.guidance > 1 and self.pipeline.unet.config["time_cond_proj_dim"] is None
        return torch.cat([torch.zeros_like(told), told]) if guided else told

    def _multiple(self) -> int:
        """Pixels that every level of the UNet halves without a rest."""
        levels = len(self.pipeline.unet.config["block_out_channels"])
        return self.pipeline.vae_scale_factor * 2 ** (levels - 1)


def checking(check_cancelled: CheckCancelled) -> Any:
    """The callback of diffusers' pipelines that gives the caller a chance to stop after every solver step."""

    def callback(pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        check_cancelled()
        return tensors

    return callback
