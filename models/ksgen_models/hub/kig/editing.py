"""Instruction-editing pipelines as a training-free KIG: key-step image k is image k − 1, edited by step k's sentence.

Chained edits drift: each pass through the VAE and the transformer changes a little of everything, and after a few
steps the bench is another one. Two things hold it. The camera frame's size and ratio are kept through every edit. And
what an edit did not change on purpose is taken from the picture before it, byte by byte: see `hold_still`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput
from ksgen_models.hub.kig.families import EditorFamily, prompt_of
from ksgen_models.hub.kig.generator import checking
from ksgen_models.hub.kig.pictures import back_to, checked_frame, drawn_size, generator_of, resized
from ksgen_models.hub.loading import named_errors, quiet
from ksgen_models.hub.settings import RunSettings
from ksgen_models.interfaces import CheckCancelled, never_cancelled


@dataclass(frozen=True)
class Holding:
    """When a pixel of an edit counts as changed.

    Attributes:
        threshold: grey levels by which the colour must differ, after blurring away the VAE's noise.
        margin: share of the picture's longer side by which the changed region is grown, and over which it fades.
        most: share of the picture above which nothing is held: the edit changed the scene as a whole.
    """

    threshold: float = 18.0
    margin: float = 0.02
    most: float = 0.6


@dataclass(frozen=True)
class EditingImageGenerator:
    """Satisfies `ksgen_models.interfaces.KeyStepImageGenerator`.

    Attributes:
        pipeline: of the class ``family.pipeline``, placed.
        family: how it is asked.
        holding: how drift is limited; None takes every edit as it comes.
        settings: what the pipeline was placed with.
    """

    pipeline: Any
    family: EditorFamily
    holding: Holding | None = Holding()
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
            PresetError: the device has too little memory; says which settings need less.
            Cancelled: ``check_cancelled`` raised it, at the latest after one more solver step.
        """
        checked_frame(frame)
        if isinstance(steps, str):
            raise InvalidInput(f"steps are a tuple of sentences, got the single string {steps[:60]!r}")
        pictures = [frame]
        with named_errors(f"the KIG on {self.family.pipeline}", "draw", self.settings), quiet(), torch.no_grad():
            try:
                for index, step in enumerate(steps):
                    check_cancelled()
                    pictures.append(self._edit(pictures[-1], step, seed, index, check_cancelled))
            finally:
                self.pipeline.maybe_free_model_hooks()
        return np.stack(pictures)

    def _edit(
        self, before: NDArray[np.uint8], step: str, seed: int, index: int, check_cancelled: CheckCancelled
    ) -> NDArray[np.uint8]:
        family = self.family
        height, width = drawn_size(before.shape[0], before.shape[1], family.area, family.multiple)
        negative = {} if family.negative_prompt is None else {"negative_prompt": family.negative_prompt}
        edited = self.pipeline(
            image=resized(before, height, width),
            prompt=prompt_of(family, step),
            height=height,
            width=width,
            num_inference_steps=family.solver_steps,
            generator=generator_of(seed, index),
            callback_on_step_end=checking(check_cancelled),
            output_type="np",
            **{family.guidance_argument: family.guidance},
            **negative,
            **family.arguments(height, width),
        ).images[0]
        drawn = back_to(edited, before)
        return drawn if self.holding is None else hold_still(drawn, before, self.holding)


def hold_still(edited: NDArray[np.uint8], before: NDArray[np.uint8], holding: Holding) -> NDArray[np.uint8]:
    """Keep of an edit what it changed, and everything else as it was.

    A change of tone over the whole picture (the median difference of each channel) is taken back first: editing models
    add one at nearly every pass, and the eye sees it at the border of what is kept.

    Args:
        edited, before: (H, W, 3) uint8.
        holding: see `Holding`.

    Returns:
        (H, W, 3) uint8; outside the changed region equal to ``before``.
    """
    import cv2

    difference = edited.astype(np.float32) - before
    tone = np.median(difference, axis=(0, 1))
    side = max(before.shape[:2])
    margin = max(1, round(holding.margin * side))
    blurred = cv2.GaussianBlur(difference - tone, (0, 0), sigmaX=max(0.5, side / 200))
    changed = (np.abs(blurred).max(axis=-1) > holding.threshold).astype(np.uint8)
    if changed.mean() > holding.most:
        return edited
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    grown = cv2.dilate(changed, kernel).astype(np.float32)
    opacity = cv2.blur(grown, (margin, margin))[..., None]
    return (before + opacity * (difference - tone)).round().clip(0, 255).astype(np.uint8)
