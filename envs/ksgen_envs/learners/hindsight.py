"""SAC with hindsight experience replay, by Stable-Baselines3, on the Workbench's goal environments.

Training episodes are single key steps, drawn at random: hindsight needs one goal an episode. With sparse rewards alone
a gripper that has to find out how to pick things up needs millions of steps; ``expert_episodes`` of the scripted expert
in the replay buffer, relabelled in hindsight like all others, shorten that (Vecerik et al., "Leveraging Demonstrations
for Deep Reinforcement Learning on Robotics Problems with Sparse Rewards", 2017).

A run's folder holds ``policy.zip`` and ``replay.pkl`` (Stable-Baselines3's own formats, pickled: go on only from what
you trust), ``run.json``, and TensorBoard's event files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback

from ksgen_envs.executors.expert import Expert
from ksgen_envs.learners.evaluation import KEY_STEP_LIMIT
from ksgen_envs.learners.runs import HINDSIGHT, SB3_POLICY, write_description
from ksgen_models.errors import DatasetError, InvalidInput

_REPLAY = "replay.pkl"
_NO_REPLAY: dict[str, Any] = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1}
_RECIPE = "recipe"


@dataclass(frozen=True)
class HindsightRecipe:
    """How a policy is trained.

    Attributes:
        reward: ``"sparse"`` or ``"dense"``.
        episode_steps: after which a training episode is cut off.
        buffer: steps that the replay buffer holds.
        batch, learning_rate, gamma, tau: SAC's.
        width: of the two hidden layers.
        updates_per_step: gradient steps for every environment step.
        relabelled: goals in hindsight for every true one.
        expert_episodes: of the scripted expert, put into the replay buffer first.
        learning_starts: environment steps before the first update.
        seed: of everything random.
    """

    reward: str = "sparse"
    episode_steps: int = KEY_STEP_LIMIT
    buffer: int = 300_000
    batch: int = 256
    learning_rate: float = 3e-4
    gamma: float = 0.97
    tau: float = 0.01
    width: int = 256
    updates_per_step: int = 1
    relabelled: int = 4
    expert_episodes: int = 100
    learning_starts: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.episode_steps, self.batch, self.width, self.updates_per_step, self.learning_starts)
        if min(counts) < 1 or self.expert_episodes < 0 or self.relabelled < 0 or not self.learning_rate > 0:
            raise InvalidInput(f"{self}: sizes, counts and the learning rate must be greater than 0")
        if self.learning_starts < self.episode_steps:
            raise InvalidInput(
                f"learning_starts is {self.learning_starts}; hindsight needs a whole episode first, give at least "
                f"{self.episode_steps}"
            )
        if self.buffer < 2 * self.episode_steps:
            raise InvalidInput(f"buffer is {self.buffer}; give room for two episodes, {2 * self.episode_steps} steps")


def train(
    env_id: str,
    out: Path,
    recipe: HindsightRecipe,
    *,
    steps: int,
    resume: bool = False,
    every: int = 5_000,
    tell: Callable[[int, HindsightPolicy], dict[str, float] | None] | None = None,
) -> HindsightPolicy:
    """Train a policy.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        out: the run's folder.
        recipe: how.
        steps: environment steps in all, those of the run that is gone on with included.
        resume: go on from the folder's checkpoint, if there is one.
        every: environment steps from one checkpoint to the next.
        tell: called at every checkpoint with the steps made and the policy; the figures that it returns are written
            to TensorBoard.

    Raises:
        DatasetError: the checkpoint cannot be read, or is of another recipe.
        InvalidInput: there is nothing to do.
    """
    from stable_baselines3.common.logger import configure

    if steps < 1:
        raise InvalidInput(f"steps is {steps}; give at least 1")
    options: dict[str, Any] = {"reward": recipe.reward}
    env = gymnasium.make(env_id, episode="key_step", max_episode_steps=recipe.episode_steps, **options)
    out.mkdir(parents=True, exist_ok=True)
    try:
        going_on = resume and (out / SB3_POLICY).is_file()
        model = _restored(out, env, recipe) if going_on else _fresh(env, recipe)
        model.set_logger(configure(str(out), ["tensorboard"]))
        if not going_on:
            fill_with_expert(model, env, recipe.expert_episodes)
        keep = _Keep(out, env_id, options, recipe, every, tell)
        left = steps - model.num_timesteps
        if left > 0:
            model.learn(left, callback=keep, reset_num_timesteps=False, log_interval=4)
        keep.save(model)
        return HindsightPolicy(model)
    finally:
        env.close()


class HindsightPolicy:
    """A trained SAC policy; an `evaluation.Policy` of the environment's own observations."""

    def __init__(self, model: SAC) -> None:
        self._model = model

    @classmethod
    def load(cls, path: Path) -> HindsightPolicy:
        """From ``policy.zip``, which holds pickled objects: load only what you trust.

        Raises:
            DatasetError: the file cannot be read.
        """
        try:
            return cls(SAC.load(path, device="cpu", custom_objects=_NO_REPLAY))
        except Exception as exc:
            raise DatasetError(f"{path} is no policy of Stable-Baselines3 ({exc}); train again") from exc

    def reset(self) -> None:
        """Nothing: the policy has no memory."""

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The action (5,), without exploration."""
        return np.asarray(self._model.predict(observation, deterministic=True)[0], np.float32)


def fill_with_expert(model: SAC, env: gymnasium.Env[Any, Any], episodes: int) -> int:
    """Put the scripted expert's episodes into a model's replay buffer; returns the environment steps.

    Args:
        model: with a `HerReplayBuffer` and no step made yet.
        env: the one that the model learns in.
        episodes: how many.
    """
    buffer = model.replay_buffer
    assert isinstance(buffer, HerReplayBuffer)
    expert, count = Expert(env), 0
    for index in range(episodes):
        expert.reset()
        observation, _ = env.reset(seed=model.seed if index == 0 else None)
        over = False
        while not over:
            action = expert.act(observation)
            following, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            buffer.add(
                _batched(observation),
                _batched(following),
                action[None],
                np.array([float(reward)]),
                np.array([over]),
                [{**info, "TimeLimit.truncated": truncated and not terminated}],
            )
            observation, count = following, count + 1
    return count


def _batched(observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: value[None] for name, value in observation.items()}


def _fresh(env: gymnasium.Env[Any, Any], recipe: HindsightRecipe) -> SAC:
    return SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": recipe.relabelled, "goal_selection_strategy": "future"},
        buffer_size=recipe.buffer,
        batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        gamma=recipe.gamma,
        tau=recipe.tau,
        gradient_steps=recipe.updates_per_step,
        learning_starts=recipe.learning_starts,
        policy_kwargs={"net_arch": [recipe.width, recipe.width]},
        seed=recipe.seed,
        device="cpu",
    )


def _restored(out: Path, env: gymnasium.Env[Any, Any], recipe: HindsightRecipe) -> SAC:
    import json

    written = json.loads((out / "run.json").read_text("utf-8")).get(_RECIPE)
    if written != asdict(recipe):
        raise DatasetError(f"{out} was trained with {written}; use another --out or the same options")
    try:
        model = SAC.load(out / SB3_POLICY, env=env, device="cpu")
        model.load_replay_buffer(out / _REPLAY)
    except Exception as exc:
        raise DatasetError(f"the checkpoint in {out} cannot be read ({exc}); delete it and begin anew") from exc
    return model


class _Keep(BaseCallback):
    """Writes checkpoints and the policy, and tells how far it is."""

    def __init__(
        self,
        out: Path,
        env_id: str,
        options: dict[str, Any],
        recipe: HindsightRecipe,
        every: int,
        tell: Callable[[int, HindsightPolicy], dict[str, float] | None] | None,
    ) -> None:
        super().__init__()
        self._out, self._env_id, self._options, self._recipe = out, env_id, options, recipe
        self._every, self._tell = every, tell

    def _on_step(self) -> bool:
        if self.num_timesteps % self._every == 0:
            assert isinstance(self.model, SAC)
            self.save(self.model)
            told = self._tell(self.num_timesteps, HindsightPolicy(self.model)) if self._tell else None
            for name, value in (told or {}).items():
                self.logger.record(f"evaluation/{name}", value)
        return True

    def save(self, model: SAC) -> None:
        """Write everything that is needed to go on, each file whole or not at all."""
        out = self._out
        more = {"options": self._options, _RECIPE: asdict(self._recipe), "steps": model.num_timesteps}
        write_description(out, HINDSIGHT, (self._env_id,), more)
        partial = out / ".part.zip"
        model.save(partial)
        partial.replace(out / SB3_POLICY)
        buffer = out / ".part.pkl"
        model.save_replay_buffer(buffer)
        buffer.replace(out / _REPLAY)
