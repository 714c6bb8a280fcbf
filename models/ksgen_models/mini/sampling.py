"""Drawing from a velocity model: flow matching solved by diffusers' DPM-Solver++, with classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ksgen_models.interfaces import CheckCancelled, never_cancelled

SHIFT = {"image": 3.0, "clip": 8.0, "masks": 16.0}
"""How much more of the work is done at high noise, for each kind of thing drawn (Esser et al. 2024, eq. 23).

The more often a picture says the same thing, the more noise it takes to hide it. A hand fills hundreds of numbers in
each of sixteen frames and lies far from the empty background's: at a noise level of 0.95 it can still be made out, so
where it goes is decided above that. Training draws its noise levels accordingly.
"""

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(noisy (B, ...), noise level (B,) in [0, 1]) → noise minus data, (B, ...)."""


def sample(
    velocity: Velocity,
    noise: Tensor,
    *,
    steps: int,
    shift: float,
    known: tuple[Tensor, Tensor] | None = None,
    check_cancelled: CheckCancelled = never_cancelled,
) -> Tensor:
    """Integrate from noise (B, ...) to data.

    Args:
        velocity: the model.
        noise: standard normal.
        steps: solver steps, each one call of ``velocity``.
        shift: above 1 spends more of the steps at high noise, see `SHIFT`.
        known: (values, where), both (B, ...) or of fewer rows or columns: data that is known already, and a bool of
            where. The model sees it at every noise level as it would lie there, and the rest is drawn to fit.
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
        x = _with_known(x, known, noise, float(sigma))
        predicted = velocity(x, sigma.expand(len(x)))
        x = scheduler.step(predicted.float(), timestep, x, return_dict=False)[0]
    return _with_known(x, known, noise, 0.0)


def _with_known(x: Tensor, known: tuple[Tensor, Tensor] | None, noise: Tensor, level: float) -> Tensor:
    if known is None:
        return x
    values, where = known
    return torch.where(where, (1 - level) * values + level * noise, x)


def guided(
    conditional: Velocity, unconditional: Callable[[], Velocity], scale: float, *, until: float = 0.0
) -> Velocity:
    """Classifier-free guidance (Ho & Salimans 2022).

    Args:
        conditional: the model with what it is told.
        unconditional: makes the model without; not called where the scale is 1 and it would not be used.
        scale: of the difference.
        until: noise level below which there is no guidance any more: what is drawn is settled by then, and the rest
            costs half (Kynkäänniemi et al. 2024).
    """
    if scale == 1.0:
        return conditional
    untold = unconditional()

    def velocity(x: Tensor, noise: Tensor) -> Tensor:
        if float(noise[0]) < until:
            return conditional(x, noise)
        without = untold(x, noise)
        return without + scale * (conditional(x, noise) - without)

    return velocity


def noise_levels(number: int, shift: float, generator: torch.Generator) -> Tensor:
    """(number,) noise levels in (0, 1) to train at: logit-normal (Esser et al. 2024), moved by the sampler's shift."""
    return torch.sigmoid(math.log(shift) + 1.2 * torch.randn(number, generator=generator))


def gaussian(shape: tuple[int, ...], *seed: int) -> Tensor:
    """Standard normal noise that depends on nothing but the shape and the seed's numbers."""
    import numpy as np

    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(state))
