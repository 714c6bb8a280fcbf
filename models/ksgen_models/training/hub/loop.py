"""The one trainer of every kind, on accelerate: one device, several, or sharded, as ``accelerate launch`` says.

Everything random in a step (which samples, which noise, dropout) hangs on the seed, the step and the process alone, so
that a run that was killed and resumed ends with the weights of one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from tqdm import tqdm

from ksgen_models.errors import InvalidInput, PresetError
from ksgen_models.training.hub.cache import writing
from ksgen_models.training.hub.checkpoints import Checkpoints, check_settings
from ksgen_models.training.hub.config import TrainConfig
from ksgen_models.training.hub.curves import Curves
from ksgen_models.training.hub.recipe import Batch, Recipe

MODEL = "model"
"""Folder of the trained model in the folder of the run."""


class _Counter:
    """The number of finished steps; accelerate keeps it with a checkpoint."""

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step = int(state["step"])


def train(recipe: Recipe, config: TrainConfig, accelerator: Accelerator) -> Path:
    """Train, from the start or from the newest checkpoint.

    Args:
        recipe: the kind.
        config: the settings.
        accelerator: of `accelerator_of`.

    Returns:
        The folder of the trained model, ``out/model``.

    Raises:
        DatasetError: ``out`` holds another run, or cannot be written.
        InvalidInput: averaged weights and sharded training together.
        PresetError: the device has too little memory.
    """
    main = accelerator.is_main_process
    _check_averaging(config, accelerator)
    if main:
        processes = {"processes": accelerator.num_processes}  # they share the data out
        check_settings(config.out, {**config.fixed(), **recipe.fixed(), **processes}, config.resume)
    accelerator.wait_for_everyone()
    recipe.prepare(accelerator.device, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    trainer = _Trainer(recipe, config, accelerator)
    curves = Curves(config.out, trainer.counter.step, main)
    try:
        trainer.run(curves)
    except torch.OutOfMemoryError as exc:
        raise PresetError(
            f"the device has too little memory ({exc!s:.200}); give a smaller --batch, --height and --width or --rank, "
            "--gradient-checkpointing, --alpha 0 or --beta 0, or several devices (docs/training.md)"
        ) from exc
    finally:
        curves.close()
    return trainer.save(config.out / MODEL)


def accelerator_of(config: TrainConfig) -> Accelerator:
    """The accelerator that ``accelerate launch`` (or its absence) and the settings stand for."""
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision
    accelerator = Accelerator(mixed_precision=config.precision, gradient_accumulation_steps=config.accumulate)
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:  # it learns the batch from a data loader, and there is none
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch
    return accelerator


class _Trainer:
    """The state of a run."""

    def __init__(self, recipe: Recipe, config: TrainConfig, accelerator: Accelerator) -> None:
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.recipe, self.config, self.accelerator = recipe, config, accelerator
        weights = [weight for weight in recipe.module.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.schedule: Any = get_scheduler(
            config.schedule, optimizer, num_warmup_steps=config.warmup, num_training_steps=config.steps
        )
        self.module, self.optimizer = accelerator.prepare(recipe.module, optimizer)
        self.weights = [weight for weight in self.module.parameters() if weight.requires_grad]
        self.average = EMAModel(self.weights, decay=config.averaging, foreach=True) if config.averaging else None
        self.counter = _Counter()
        kept = (self.schedule, self.counter, *([self.average] if self.average else []))
        accelerator.register_for_checkpointing(*kept)
        self.checkpoints = Checkpoints(accelerator, config.out, config.keep)
        if config.resume and self.checkpoints.load_newest():
            self._follow_schedule()
        if self.average is not None:
            self.average.to(accelerator.device)

    def run(self, curves: Curves) -> None:
        """All steps that are left."""
        config, start = self.config, self.counter.step
        if start == 0:
            self._validate(curves)
        bar = tqdm(
            total=config.steps,
            initial=start,
            desc=self.recipe.kind,
            unit="step",
            disable=None if self.accelerator.is_main_process else True,
        )
        with bar, _ahead(self._load, start * config.accumulate, config.steps * config.accumulate) as batches:
            for step in range(start, config.steps):
                figures = self._step(step, batches)
                self.counter.step = step + 1
                curves.losses(step + 1, figures)
                bar.update()
                bar.set_postfix({"loss": f"{figures['loss']:.4f}"})
                last = step + 1 == config.steps
                if last or (step + 1) % config.validate_every == 0:
                    self._validate(curves)
                if last or (step + 1) % config.checkpoint_every == 0:
                    self.checkpoints.save(step + 1)

    def save(self, folder: Path) -> Path:
        """Write the trained model, with averaged weights where there are any."""
        with self._averaged():  # until it is written: the state shares its memory with the weights
            state: Any = self.accelerator.get_state_dict(self.module)
            if self.accelerator.is_main_process:
                with writing(folder):
                    self.recipe.save(folder, state or {})
        self.accelerator.wait_for_everyone()
        return folder

    def _follow_schedule(self) -> None:
        """The optimiser comes back with the rate that it had, which a run made longer may have fallen to nothing."""
        rates = zip(self.optimizer.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True)
        for group, rate, shape in rates:
            group["lr"] = rate * shape(self.schedule.last_epoch)

    def _step(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        sums: dict[str, float] = {}
        self.module.train()
        for micro in range(self.config.accumulate):
            generator = _seeded(self.config.seed, step, micro, self.accelerator.process_index)
            batch = {name: tensor.to(self.accelerator.device) for name, tensor in next(batches).items()}
            with self.accelerator.accumulate(self.module):
                losses = self.recipe.losses(self.module, batch, generator)
                self.accelerator.backward(losses["loss"])
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.weights, self.config.clip_norm)
                    sums["gradient"] = float(norm) if norm is not None else float("nan")
                self.optimizer.step()
                self.optimizer.zero_grad()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / self.config.accumulate
        self.schedule.step()
        if self.average is not None:
            self.average.step(self.weights)
        return {**sums, "learning_rate": float(self.schedule.get_last_lr()[0])}

    def _load(self, position: int) -> Batch:
        """The batch at a place in the data: of each epoch a new order, of each batch a share for every process."""
        config, world = self.config, self.accelerator.num_processes
        first = (position * world + self.accelerator.process_index) * config.batch
        indices = [_nth(config.seed, first + offset, len(self.recipe)) for offset in range(config.batch)]
        return self.recipe.batch(
            indices, np.random.default_rng([config.seed, position, self.accelerator.process_index])
        )

    def _validate(self, curves: Curves) -> None:
        self.module.eval()
        with self._averaged(), torch.no_grad(), torch.random.fork_rng(_devices(self.accelerator)):
            curves.validation(self.counter.step, self.recipe.validate(self.module, self.config.samples))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self.average is None or self.counter.step == 0:
            yield
            return
        self.average.store(self.weights)
        self.average.copy_to(self.weights)
        try:
            yield
        finally:
            self.average.restore(self.weights)


def _check_averaging(config: TrainConfig, accelerator: Accelerator) -> None:
    plugin = accelerator.state.deepspeed_plugin
    sharded = accelerator.distributed_type == DistributedType.FSDP or (plugin is not None and plugin.zero_stage == 3)
    if config.averaging and sharded:
        raise InvalidInput("averaged weights need the weights whole on each device; give --averaging 0 when sharding")


def _seeded(*numbers: int) -> torch.Generator:
    """A generator for noise, and torch's own seeded for dropout, from the same numbers."""
    first, second = (int(state) for state in np.random.SeedSequence(numbers).generate_state(2))
    torch.manual_seed(first)
    return torch.Generator().manual_seed(second)


def _nth(seed: int, position: int, number: int) -> int:
    epoch, place = divmod(position, number)
    return int(np.random.default_rng([seed, epoch]).permutation(number)[place])


def _devices(accelerator: Accelerator) -> list[int]:
    return [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []


@contextmanager
def _ahead(load: Callable[[int], Batch], first: int, stop: int) -> Iterator[Iterator[Batch]]:
    """Batches ``first`` to ``stop``, the next one read from disk while one is worked on."""
    with ThreadPoolExecutor(1) as thread:

        def batches() -> Iterator[Batch]:
            coming: Future[Batch] | None = thread.submit(load, first) if first < stop else None
            for position in range(first, stop):
                assert coming is not None
                batch = coming.result()
                coming = thread.submit(load, position + 1) if position + 1 < stop else None
                yield batch

        yield batches()
