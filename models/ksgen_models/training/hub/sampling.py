"""Draws from a network in training: the visible loop, without guidance, for validation and for stage 1's masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ksgen_models.interfaces import CheckCancelled, never_cancelled
from ksgen_models.training.hub.backbones import Inputs
from ksgen_models.training.hub.kit import Kit
from ksgen_models.training.hub.noising import add_noise, clean_of, noise_of


@torch.no_grad()
def sample(
    kit: Kit,
    module: Any,
    batch: dict[str, Tensor],
    fps: float,
    steps: int,
    generator: torch.Generator,
    check_cancelled: CheckCancelled = never_cancelled,
) -> Tensor:
    """Draw clips by the deterministic solver of DDIM, which on flows is Euler's.

    Args:
        kit: the checkpoint.
        module: its network, as the trainer has it.
        batch: ``context``, ``mask``, and ``text`` or ``image``, as `predict` takes them.
        fps: frames a second.
        steps: of the solver.
        generator: of the noise, on the CPU.
        check_cancelled: called between steps.

    Returns:
        (B, C, T', h, w) latents.
    """
    context = batch["context"]
    shape = (len(context), kit.latent_channels, *context.shape[2:])
    path = kit.noising.path(steps)
    latents = torch.randn(shape, generator=generator).to(context.device)
    predicts = kit.noising.predicts
    for index in range(steps):
        check_cancelled()
        levels = path.at(index, len(latents))
        said = predict(kit, module, latents, levels.timestep, batch, fps)
        clean, noise = clean_of(predicts, latents, said, levels), noise_of(predicts, latents, said, levels)
        if kit.holds_first:
            clean = torch.cat([context[:, :, :1], clean[:, :, 1:]], dim=2)
        latents = add_noise(clean, noise, path.at(index + 1, len(latents)))
    return latents


def predict(kit: Kit, module: Any, noisy: Tensor, timestep: Tensor, batch: dict[str, Tensor], fps: float) -> Tensor:
    """What the network says, (B, C, T', h, w) float32.

    ``batch`` holds ``context`` (B, C', T', h, w), ``mask`` (B, 1, T', h, w), and ``text`` (B, L, D) or ``image``
    (B, N, D) or both.
    """
    given = Inputs(
        noisy, batch["context"], batch["mask"], timestep.to(noisy.device), batch.get("text"), batch.get("image"), fps
    )
    return kit.backbone.call(kit.pipeline, module, given).float()
