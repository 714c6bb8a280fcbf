"""A scripted expert that does the Workbench's tasks with the robot, from the simulator's truth.

``python -m ksgen_envs.executors.expert --scenes 50`` measures it on development scenes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.controller import WaypointController
from ksgen_envs.executors.planning import plan_step
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.robot.gripper import read_state
from ksgen_models.errors import InvalidInput


class Expert:
    """A policy that plans each key step by looking into the simulator, and plans again when a step did not work.

    Args:
        env: a Workbench environment, wrapped or not; it must be the one that is acted on.

    Raises:
        InvalidInput: the environment is another one.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        if not isinstance(env.unwrapped, WorkbenchEnv):
            raise InvalidInput(f"the expert does the Workbench's tasks; it does not know {env.unwrapped!r}")
        self._env: WorkbenchEnv = env.unwrapped
        self._controller: WaypointController | None = None

    def reset(self) -> None:
        """Forget the path; call when the environment was reset."""
        self._controller = None

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The next action (5,), given any of the environment's observations."""
        state = read_state(observation["observation"])
        if self._controller is None or self._controller.done:
            step = self._env.key_step
            if self._env.holds(step):
                return np.array([0, 0, 0, 0, -1], np.float32)
            self._controller = WaypointController(plan_step(self._env, step, state), state)
        return self._controller.act(state)


@dataclass(frozen=True)
class Outcome:
    """How an episode went.

    Attributes:
        scene_seed: of the scene.
        success: whether all was done.
        steps: environment steps taken.
        steps_done, key_steps: how many key steps were done, and how many there are.
        stuck_at: the sentence of the key step that was not done; empty on success.
    """

    scene_seed: int
    success: bool
    steps: int
    steps_done: int
    key_steps: int
    stuck_at: str


def perform(env: gymnasium.Env[Any, Any], scene_seed: int, **options: Any) -> Outcome:
    """Let the expert do one episode.

    Args:
        env: a Workbench environment.
        scene_seed: of the scene.
        options: further options of `WorkbenchEnv.reset`.
    """
    expert = Expert(env)
    observation, info = env.reset(options={"scene_seed": scene_seed, **options})
    steps, over = 0, False
    while not over:
        observation, _, terminated, truncated, info = env.step(expert.act(observation))
        steps, over = steps + 1, terminated or truncated
    success = bool(info["is_success"])
    return Outcome(
        scene_seed,
        success,
        steps,
        info["steps_done"],
        info["key_steps"],
        "" if success else info["description"],
    )


def main(arguments: list[str] | None = None) -> None:
    """Print each task's share of scenes done, with its 95 % interval (Wilson), and what failed."""
    import argparse

    from ksgen_envs.tasks import TASKS

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=50, help="scenes of each task")
    parser.add_argument("--first", type=int, default=1_000_000, help="the first scene seed")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task (may be repeated)")
    asked = parser.parse_args(arguments)
    for env_id in asked.task or TASKS:
        env = gymnasium.make(env_id)
        outcomes = [perform(env, seed) for seed in range(asked.first, asked.first + asked.scenes)]
        env.close()
        won = sum(outcome.success for outcome in outcomes)
        low, high = wilson(won, len(outcomes))
        lengths = [outcome.steps for outcome in outcomes if outcome.success]
        length = f"{np.median(lengths):.0f} steps (at most {max(lengths)})" if lengths else "-"
        print(f"{env_id:26} {won}/{len(outcomes)} = {won / len(outcomes):.1%} [{low:.1%}, {high:.1%}], {length}")
        failed = [outcome for outcome in outcomes if not outcome.success]
        for place, count in Counter(outcome.stuck_at for outcome in failed).most_common():
            seeds = [outcome.scene_seed for outcome in failed if outcome.stuck_at == place]
            print(f"    {count} × {place!r}: scenes {seeds}")


def wilson(won: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, for ``total`` > 0."""
    z = 1.96
    share = won / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return float(middle - half), float(middle + half)


if __name__ == "__main__":
    main()
