"""Goal-conditioned behaviour cloning: from the expert's episodes to a policy, with curves, checkpoints and resuming.

A run's folder holds ``demonstrations/`` (unless told otherwise), ``checkpoint.pt`` (everything needed to go on),
``policy.safetensors`` and ``run.json`` (the policy, see `ksgen_envs.learners.runs`) and TensorBoard's event files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ksgen_envs.learners.chunk_policy import ChunkPolicy, PolicySpec
from ksgen_envs.learners.moving import Moves, moved
from ksgen_envs.learners.runs import save_cloned
from ksgen_envs.learners.training_data import Disturbance, TrainingData, disturb, load
from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.precision import autocast

_CHECKPOINT = "checkpoint.pt"
_HELD_OUT = 20  # one episode of so many is kept out of training, to see what the loss is there
_EMA = 0.999
_WARM_UP = 200


@dataclass(frozen=True)
class CloningRecipe:
    """How a policy is trained.

    Attributes:
        policy: its form.
        disturbance: of subgoals.
        moves: of scenes.
        updates: of the weights.
        batch: steps of episodes in each.
        learning_rate: the greatest; it rises over 200 updates and falls along a cosine.
        weight_decay: AdamW's.
        seed: of weights and batches.
    """

    policy: PolicySpec
    disturbance: Disturbance = field(default_factory=Disturbance)
    moves: Moves = field(default_factory=Moves)
    updates: int = 20_000
    batch: int = 256
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.updates < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise InvalidInput(f"{self}: updates, batch and learning rate must be greater than 0")


def train(
    files: list[Path],
    out: Path,
    recipe: CloningRecipe,
    *,
    env_ids: tuple[str, ...],
    resume: bool = False,
    every: int = 500,
    tell: Callable[[int, float, ChunkPolicy], None] | None = None,
) -> ChunkPolicy:
    """Train a policy.

    Args:
        files: episodes, see `ksgen_envs.learners.demonstrations`.
        out: the run's folder.
        recipe: how.
        env_ids: of the episodes, written down with the policy.
        resume: go on from the folder's checkpoint, if there is one.
        every: updates from one checkpoint to the next.
        tell: called at every checkpoint with the updates made, the mean loss since the last, and the policy as it is.

    Returns:
        The policy, its weights averaged over the last updates.

    Raises:
        DatasetError: the episodes cannot be used, or the checkpoint is of another recipe.
    """
    from torch.utils.tensorboard import SummaryWriter

    held_out = files[::_HELD_OUT] if len(files) >= _HELD_OUT else []
    data = load([path for path in files if path not in held_out], recipe.policy.inputs)
    unseen = load(held_out, recipe.policy.inputs) if held_out else None
    state = _State.begin(recipe, data)
    if resume and (out / _CHECKPOINT).is_file():
        state.restore(out / _CHECKPOINT, recipe)
    out.mkdir(parents=True, exist_ok=True)
    total = 0.0
    since = state.updates
    with SummaryWriter(str(out), purge_step=state.updates + 1) as writer:
        while state.updates < recipe.updates:
            total += state.update(data, recipe)
            if state.updates % every and state.updates < recipe.updates:
                continue
            loss = total / (state.updates - since)
            total, since = 0.0, state.updates
            writer.add_scalar("train/loss", loss, state.updates)
            writer.add_scalar("train/learning_rate", state.optimizer.param_groups[0]["lr"], state.updates)
            if unseen is not None:
                writer.add_scalar("held_out/loss", held_out_loss(state.average, unseen), state.updates)
            state.save(out / _CHECKPOINT, recipe)
            save_cloned(out, state.average, env_ids)
            if tell is not None:
                tell(state.updates, loss, state.average)
            state.network.train()
    return state.average


@dataclass
class _State:
    """Everything that changes in training."""

    network: ChunkPolicy
    average: ChunkPolicy
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    updates: int = 0

    @classmethod
    def begin(cls, recipe: CloningRecipe, data: TrainingData) -> _State:
        torch.manual_seed(recipe.seed)
        network = ChunkPolicy(recipe.policy)
        network.robot_scale.measure(data.inputs["robot"])
        slots = data.inputs["slots"]
        if (slots[..., 0] > 0.5).any():
            network.slot_scale.measure(slots[slots[..., 0] > 0.5])
        network.condition_scale.measure(data.inputs["condition"])
        network.action_scale.measure(data.actions)
        optimizer = torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        average = deepcopy(network).requires_grad_(False)
        return cls(network, average, optimizer, torch.Generator().manual_seed(recipe.seed))

    def update(self, data: TrainingData, recipe: CloningRecipe) -> float:
        rows = torch.randint(len(data), (recipe.batch,), generator=self.generator)
        inputs, actions = moved(*data.batch(rows, recipe.policy.chunk), recipe.moves, self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(self.updates, recipe.updates)
        with autocast():
            loss = _loss(self.network, disturb(inputs, recipe.disturbance, self.generator), actions)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.updates += 1
        # The average of few updates is not held back by where they began.
        fading = min(_EMA, self.updates / (self.updates + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1.0 - fading)
        return loss.item()

    def save(self, path: Path, recipe: CloningRecipe) -> None:
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        torch.save(
            {
                "recipe": asdict(recipe),
                "updates": self.updates,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
            },
            partial,
        )
        partial.replace(path)

    def restore(self, path: Path, recipe: CloningRecipe) -> None:
        try:
            held = torch.load(path, weights_only=True)
        except Exception as exc:
            raise DatasetError(f"{path} is no checkpoint ({exc}); delete it and begin anew") from exc
        # Only how long to train may change.
        before, now = ({**given, "updates": 0} for given in (held["recipe"], asdict(recipe)))
        if before != now:
            differing = sorted(name for name in now if before.get(name) != now[name])
            raise DatasetError(
                f"{path} was made with another {', '.join(differing)}; use another --out or the same options"
            )
        self.network.load_state_dict(held["network"])
        self.average.load_state_dict(held["average"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.generator.set_state(held["generator"])
        self.updates = held["updates"]


@torch.no_grad()
def held_out_loss(network: ChunkPolicy, data: TrainingData, *, batch: int = 1024) -> float:
    """Mean loss over all steps, subgoals undisturbed."""
    network.eval()
    total = 0.0
    for rows in torch.arange(len(data)).split(batch):
        total += _loss(network, *data.batch(rows, network.spec.chunk)).item() * len(rows)
    return total / len(data)


def _loss(network: ChunkPolicy, inputs: dict[str, Tensor], actions: Tensor) -> Tensor:
    # L1 in units of each number's deviation.
    return ((network(inputs) - actions) / network.action_scale.deviation).abs().mean()


def _schedule(updates: int, total: int) -> float:
    warm = min(1.0, (updates + 1) / _WARM_UP)
    return warm * (0.02 + 0.98 * 0.5 * (1.0 + float(np.cos(np.pi * min(1.0, updates / total)))))
