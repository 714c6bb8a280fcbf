"""How often a policy does a task, and a film of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.datasets import EVALUATION_SEEDS
from ksgen_envs.executors.expert import Outcome, wilson
from ksgen_envs.goal_env.environment import CONTROL_HZ, WorkbenchEnv
from ksgen_models.errors import InvalidInput

DEVELOPMENT_SEEDS = 1_000_000
KEY_STEP_LIMIT = 200
"""Environment steps that an episode of a single key step is given; the expert takes about half of it."""
_EVERY = 2  # environment steps from one frame of a film to the next
_REST = 10  # frames that a film shows its end


class Policy(Protocol):
    """What acts."""

    def reset(self) -> None:
        """A new episode begins."""
        ...

    def act(self, observation: Any) -> NDArray[np.float32]:
        """The action (5,) for an observation."""
        ...


@dataclass(frozen=True)
class Score:
    """What came of some episodes.

    Attributes:
        outcomes: one for each, at least one.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def won(self) -> int:
        """Episodes in which all was done."""
        return sum(outcome.success for outcome in self.outcomes)

    @property
    def success(self) -> float:
        """Their share."""
        return self.won / len(self.outcomes)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.won, len(self.outcomes))

    @property
    def key_steps(self) -> float:
        """Mean share of key steps done in an episode."""
        return float(np.mean([outcome.steps_done / outcome.key_steps for outcome in self.outcomes]))

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.won}/{len(self.outcomes)} = {self.success:.1%} [{low:.1%}, {high:.1%}], "
            f"key steps done {self.key_steps:.1%}"
        )


def check_seeds(seeds: range, *, final_evaluation: bool = False, training: bool = False) -> range:
    """The seeds, if they may be used.

    Raises:
        InvalidInput: none, or kept for the final evaluation, or (for ``training``) not those for training.
    """
    if not len(seeds):
        raise InvalidInput("there are no scene seeds; give A:B with B greater than A")
    if training and max(seeds) >= DEVELOPMENT_SEEDS:
        raise InvalidInput(f"seed {max(seeds)} is not for training; use seeds below {DEVELOPMENT_SEEDS:,}")
    if not final_evaluation and max(seeds) >= EVALUATION_SEEDS:
        raise InvalidInput(
            f"seed {max(seeds)} is reserved for the final evaluation (seeds of {EVALUATION_SEEDS:,} and more); "
            f"use development seeds from {DEVELOPMENT_SEEDS:,} on"
        )
    return seeds


def run_episode(
    env: gymnasium.Env[Any, Any],
    policy: Policy,
    scene_seed: int,
    *,
    watch: Callable[[int], None] | None = None,
    **options: Any,
) -> Outcome:
    """Let a policy do one episode.

    Args:
        env: a Workbench environment with the observations that the policy takes.
        policy: acts.
        scene_seed: of the scene; the environment's own generator is seeded with it too.
        watch: called with the number of steps made, after the reset and after every step.
        options: further options of `WorkbenchEnv.reset`.
    """
    observation, info = env.reset(seed=scene_seed, options={"scene_seed": scene_seed, **options})
    policy.reset()
    steps, over = 0, bool(info["is_success"])
    if watch is not None:
        watch(steps)
    while not over:
        observation, _, terminated, truncated, info = env.step(policy.act(observation))
        steps, over = steps + 1, terminated or truncated
        if watch is not None:
            watch(steps)
    success = bool(info["is_success"])
    stuck_at = "" if success else str(info["description"])
    return Outcome(scene_seed, success, steps, info["steps_done"], info["key_steps"], stuck_at)


def evaluate(env: gymnasium.Env[Any, Any], policy: Policy, seeds: Iterable[int], **options: Any) -> Iterator[Outcome]:
    """One episode for each scene seed; yields as they are done. See `run_episode`."""
    for seed in seeds:
        yield run_episode(env, policy, seed, **options)


def film(env: gymnasium.Env[Any, Any], policy: Policy, scene_seed: int, path: str | Path, **options: Any) -> Outcome:
    """Do one episode and write what the robot's camera saw as an MP4, at twice the speed of life.

    Args:
        env, policy, scene_seed, options: as for `run_episode`.
        path: of the film.

    Raises:
        InvalidInput: not a Workbench environment.
    """
    from ksgen_models.video_io import write_video

    unwrapped = env.unwrapped
    if not isinstance(unwrapped, WorkbenchEnv):
        raise InvalidInput(f"films are made of Workbench environments, not of {unwrapped!r}")
    frames: list[NDArray[np.uint8]] = []

    def watch(steps: int) -> None:
        if steps % _EVERY == 0:
            frames.append(unwrapped.picture())

    outcome = run_episode(env, policy, scene_seed, watch=watch, **options)
    frames += [unwrapped.picture()] * _REST
    write_video(path, np.stack(frames), fps=CONTROL_HZ)
    return outcome
