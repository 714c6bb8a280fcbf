"""Drawing from a velocity model: flow matching solved by diffusers' DPM-Solver++, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ksgen_models.interfaces import CheckCancelled, never_cancelled

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(noisy (B, ...), noise level (B,) in [0, 1]) → noise minus data, (B, ...)."""


def sample(
    velocity: Velocity,
    noise: Tensor,
    *,
    steps: int,
    shift: float = 1.0,
    check_cancelled: CheckCancelled = never_cancelled,
) -> Tensor:
    """Integrate from noise (B, ...) to data.

    Args:
        velocity: the model.
        noise: standard normal.
        steps: solver steps, each one call of ``velocity``.
        shift: above 1 spends more of the steps at high noise (Esser et al. 2024, eq. 23).
        check_cancelled: called before each step; may raise.
    """
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    scheduler.set_timesteps(steps)
    x = noise
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        check_cancelled()
        predicted = velocity(x, sigma.expand(len(x)))
        x = scheduler.step(predicted.float(), timestep, x, return_dict=False)[0]
    return x


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Classifier-free guidance (Ho & Salimans 2022); with scale 1 the second model is never called."""
    if scale == 1.0:
        return conditional

    def velocity(x: Tensor, noise: Tensor) -> Tensor:
        without = unconditional(x, noise)
        return without + scale * (conditional(x, noise) - without)

    return velocity


def gaussian(shape: tuple[int, ...], *seed: int) -> Tensor:
    """Standard normal noise that depends on nothing but the shape and the seed's numbers."""
    import numpy as np

    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(state))
