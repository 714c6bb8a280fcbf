"""Noise and what is predicted of it: one form for diffusion (noise or v), EDM and flow matching.

Noisy latents are ``x_t = signal · x_0 + noise · ε``. The schedule says which (signal, noise, timestep) occur; what the
network predicts says the target and how x_0 is got back:

===========  ==========================  =================================
predicts     target                      x_0
===========  ==========================  =================================
``noise``    ε                           (x_t − noise · p) / signal
``v``        signal · ε − noise · x_0    signal · x_t − noise · p
``flow``     ε − x_0                     x_t − noise · p
===========  ==========================  =================================

EDM's preconditioned x_0-prediction, as Stable Video Diffusion has it, is ``v`` with signal 1/√(σ²+1), noise
σ/√(σ²+1) and timestep ln(σ)/4. Sources: IVG Eq. 1; Salimans and Ho, arXiv 2202.00512 (v); Karras et al., arXiv
2206.00364 (EDM); Lipman et al., arXiv 2210.02747 and Esser et al., arXiv 2403.03206 (flow, logit-normal times).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ksgen_models.errors import PresetError

NOISE, V, FLOW = "noise", "v", "flow"
_EPSILON = 1e-4


@dataclass(frozen=True)
class Levels:
    """How noisy each of N samples is.

    Attributes:
        signal, noise: (N,) float32, the factors of x_0 and ε.
        timestep: (N,), as the network takes it.
    """

    signal: Tensor
    noise: Tensor
    timestep: Tensor

    def at(self, index: int, number: int) -> Levels:
        """Level ``index`` for each of ``number`` samples."""
        return Levels(*(values[index].repeat(number) for values in (self.signal, self.noise, self.timestep)))


class Noising(Protocol):
    """A schedule and what is predicted on it."""

    @property
    def predicts(self) -> str:
        """`NOISE`, `V` or `FLOW`."""
        ...

    def draw(self, number: int, generator: torch.Generator) -> Levels:
        """Levels to train at."""
        ...

    def path(self, steps: int) -> Levels:
        """``steps`` levels from noise towards the picture, then the clean one: ``steps + 1`` in all."""
        ...


@dataclass(frozen=True)
class Discrete:
    """The levels of a diffusion schedule with numbered timesteps; ``kept`` (N,) are its ᾱ."""

    predicts: str
    kept: Tensor

    def draw(self, number: int, generator: torch.Generator) -> Levels:
        """Timesteps drawn evenly."""
        return self._levels(torch.randint(len(self.kept), (number,), generator=generator))

    def path(self, steps: int) -> Levels:
        """Timesteps spaced evenly from the last."""
        return _with_clean(self._levels(torch.linspace(len(self.kept) - 1, 0, steps + 1)[:-1].round().long()))

    def _levels(self, timestep: Tensor) -> Levels:
        kept = self.kept[timestep].float()
        return Levels(kept.sqrt(), (1 - kept).clamp(min=0).sqrt(), timestep)


@dataclass(frozen=True)
class EDM:
    """Continuous noise σ, drawn log-normally with the mean and width that Stable Video Diffusion was trained with."""

    least: float
    most: float
    predicts: str = V
    mean: float = 0.7
    width: float = 1.6
    rho: float = 7.0

    def draw(self, number: int, generator: torch.Generator) -> Levels:
        """Log-normal σ."""
        sigma = (self.mean + self.width * torch.randn(number, generator=generator)).exp()
        return self._levels(sigma.clamp(self.least, self.most))

    def path(self, steps: int) -> Levels:
        """Karras' spacing."""
        share = torch.linspace(0, 1, steps)
        first, last = self.most ** (1 / self.rho), self.least ** (1 / self.rho)
        return _with_clean(self._levels((first + share * (last - first)) ** self.rho))

    def _levels(self, sigma: Tensor) -> Levels:
        scale = (sigma.square() + 1).rsqrt()
        return Levels(scale, sigma * scale, 0.25 * sigma.log())


@dataclass(frozen=True)
class Flow:
    """Straight paths: signal 1 − σ, noise σ.

    Attributes:
        shift: moves times towards noise, as large pictures need it.
        scale: timestep at σ = 1.
        least, most: of σ, for a network that knows only a part of the path (an expert).
    """

    shift: float
    scale: float
    least: float = 0.0
    most: float = 1.0
    predicts: str = FLOW

    def draw(self, number: int, generator: torch.Generator) -> Levels:
        """Logit-normal times within the bounds."""
        bounds = torch.tensor([self.least, self.most], dtype=torch.float64).clamp(_EPSILON, 1 - _EPSILON)
        low, high = torch.special.ndtr(torch.logit(bounds / (self.shift - (self.shift - 1) * bounds)))
        place = low + (high - low) * torch.rand(number, generator=generator, dtype=torch.float64)
        return self._levels(self._shifted(torch.sigmoid(torch.special.ndtri(place))).float())

    def path(self, steps: int) -> Levels:
        """Evenly spaced, then shifted."""
        return _with_clean(self._levels(self._shifted(torch.linspace(1, 0, steps + 1)[:-1])))

    def _shifted(self, time: Tensor) -> Tensor:
        return self.shift * time / (1 + (self.shift - 1) * time)

    def _levels(self, sigma: Tensor) -> Levels:
        return Levels(1 - sigma, sigma, self.scale * sigma)


def noising_of(scheduler: Any) -> Noising:
    """The noising that a checkpoint's scheduler stands for.

    Raises:
        PresetError: it predicts something that is not known here.
    """
    config = scheduler.config
    kind = config.get("prediction_type", "epsilon")
    if type(scheduler).__name__.startswith("FlowMatch") or kind == "flow_prediction":
        shift = config.get("flow_shift") or config.get("shift") or 1.0
        return Flow(float(shift), float(config.get("num_train_timesteps", 1000)))
    names = {"epsilon": NOISE, "v_prediction": V}
    if kind not in names:
        raise PresetError(f'{type(scheduler).__name__} predicts "{kind}"; training knows {", ".join(names)} and flows')
    if config.get("timestep_type") == "continuous":
        if kind != "v_prediction":
            raise PresetError(f"{type(scheduler).__name__} has continuous timesteps and predicts noise, not v")
        return EDM(float(config.get("sigma_min") or 0.002), float(config.get("sigma_max") or 700.0))
    return Discrete(names[kind], scheduler.alphas_cumprod.float())


def add_noise(clean: Tensor, noise: Tensor, levels: Levels) -> Tensor:
    """Noisy samples (B, …) at levels (B,)."""
    return _over(levels.signal, clean) * clean + _over(levels.noise, clean) * noise


def target_of(predicts: str, clean: Tensor, noise: Tensor, levels: Levels) -> Tensor:
    """What the network should say."""
    if predicts == NOISE:
        return noise
    if predicts == V:
        return _over(levels.signal, clean) * noise - _over(levels.noise, clean) * clean
    return noise - clean


def clean_of(predicts: str, noisy: Tensor, prediction: Tensor, levels: Levels) -> Tensor:
    """x_0 as the prediction has it."""
    signal, noise = _over(levels.signal, noisy), _over(levels.noise, noisy)
    if predicts == NOISE:
        return (noisy - noise * prediction) / signal.clamp(min=_EPSILON)
    if predicts == V:
        return signal * noisy - noise * prediction
    return noisy - noise * prediction


def noise_of(predicts: str, noisy: Tensor, prediction: Tensor, levels: Levels) -> Tensor:
    """ε as the prediction has it."""
    if predicts == NOISE:
        return prediction
    if predicts == V:
        return _over(levels.noise, noisy) * noisy + _over(levels.signal, noisy) * prediction
    return noisy + _over(levels.signal, noisy) * prediction


def _over(values: Tensor, samples: Tensor) -> Tensor:
    return values.to(samples.device).reshape(-1, *([1] * (samples.ndim - 1)))


def _with_clean(levels: Levels) -> Levels:
    one, nothing = torch.ones(1), torch.zeros(1)
    last = levels.timestep[-1:]
    return Levels(
        torch.cat([levels.signal, one]), torch.cat([levels.noise, nothing]), torch.cat([levels.timestep, last])
    )
