"""One training loop for every network: AdamW, warm-up and cosine decay, averaged weights, exact resumption.

A batch and the noise of its loss depend on the seed and the step's number alone, so that a run that was killed and
resumed sees what an uninterrupted run would have seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ksgen_models.precision import autocast

Batch = TypeVar("Batch")
Losses = dict[str, Tensor]
"""Named losses; the one called ``"loss"`` is minimised, the others are only logged."""


@dataclass(frozen=True)
class FitConfig:
    """How one network is trained.

    Attributes:
        steps: optimiser steps.
        batch: samples a step.
        learning_rate: peak of the schedule.
        warmup: steps of linear warm-up; then cosine decay to a twentieth of the peak.
        weight_decay: of AdamW.
        averaging: decay of the exponential moving average of the weights (shorter early in the run).
        seed: of initial weights, batches and noise.
        checkpoint_seconds: seconds between checkpoints.
        log_every: steps between lines of the log.
    """

    steps: int
    batch: int
    learning_rate: float = 4e-4
    warmup: int = 200
    weight_decay: float = 0.01
    averaging: float = 0.999
    seed: int = 0
    checkpoint_seconds: float = 180.0
    log_every: int = 20


def fit(
    name: str,
    model: nn.Module,
    make_batch: Callable[[np.random.Generator, int], Batch],
    losses: Callable[[nn.Module, Batch, torch.Generator], Losses],
    config: FitConfig,
    folder: Path,
    *,
    resume: bool,
) -> nn.Module:
    """Train ``model`` in place and return the averaged copy, in evaluation mode.

    Writes ``<folder>/<name>.jsonl`` (the learning curve) and ``<folder>/<name>.checkpoint.pt``.

    Args:
        name: of the run's files and progress bar.
        model: the network.
        make_batch: (random generator, batch size) → batch; called ahead of time in a thread.
        losses: (model, batch, noise generator) → losses, under `ksgen_models.precision.autocast`.
        config: the schedule.
        folder: where the log and the checkpoint go.
        resume: go on from a checkpoint if there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    checkpoint = folder / f"{name}.checkpoint.pt"
    start = _restore(checkpoint, model, average, optimizer) if resume else 0
    log_path = folder / f"{name}.jsonl"
    if not resume:
        log_path.unlink(missing_ok=True)

    def batch_of(step: int) -> Batch:
        return make_batch(np.random.default_rng([config.seed, step]), config.batch)

    saved_at = time.monotonic()
    with ThreadPoolExecutor(1) as ahead, tqdm(total=config.steps, initial=start, desc=name, unit="step") as progress:
        upcoming = ahead.submit(batch_of, start)
        for step in range(start, config.steps):
            batch = upcoming.result()
            if step + 1 < config.steps:
                upcoming = ahead.submit(batch_of, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _schedule(step, config)
            noise = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
            with autocast():
                values = losses(model, batch, noise)
            optimizer.zero_grad(set_to_none=True)
            values["loss"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            _average(average, model, min(config.averaging, (step + 1) / (step + 10)))
            progress.update()
            if step % config.log_every == 0 or step + 1 == config.steps:
                figures = {key: round(float(value.detach()), 5) for key, value in values.items()}
                progress.set_postfix(figures)
                with log_path.open("a") as log:
                    log.write(json.dumps({"step": step, **figures, "gradient": round(float(norm), 4)}) + "\n")
            if time.monotonic() - saved_at > config.checkpoint_seconds:
                _save(checkpoint, model, average, optimizer, step + 1)
                saved_at = time.monotonic()
    _save(checkpoint, model, average, optimizer, config.steps)
    return average


def _schedule(step: int, config: FitConfig) -> float:
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - decay)
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)


def _save(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    partial = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
        },
        partial,
    )
    partial.replace(path)


def _restore(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
