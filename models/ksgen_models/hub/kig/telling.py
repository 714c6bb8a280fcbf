"""What a generator's pipeline and the Skill Transformer are told: token states of the sentences, latents of the frame.

Training and drawing share these, so that what was trained is what runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

_KOLORS_TOKENS = 256
"""The default of Kolors' pipelines."""


@torch.no_grad()
def step_states(pipeline: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token states of S prompts by the pipeline's own text encoders: (S, L, D) and their mask (S, L) bool.

    L is 77 for SDXL (its two encoders side by side) and 256 for Kolors, padded with what the mask leaves out.
    """
    states = pipeline.encode_prompt(
        prompt=list(prompts),
        device=pipeline._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )[0]
    length = states.shape[1]
    tokens = pipeline.tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return states, tokens["attention_mask"].to(states.device).bool()


@torch.no_grad()
def frame_latents(pipeline: Any, picture: Image, generator: torch.Generator) -> Tensor:
    """Scaled latents (1, C, h, w) of a picture whose sides the pipeline can take, as its own img2img makes them."""
    pixels = pipeline.image_processor.preprocess(picture)
    device = pipeline._execution_device
    dtype = pipeline.unet.dtype
    return pipeline.prepare_latents(pixels, None, 1, 1, dtype, device, generator, add_noise=False)
