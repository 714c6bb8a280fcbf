"""How many steps a second the environments make on one core.

``python -m ksgen_envs.goal_env.speed`` drives each task with random actions, state observations, resets not counted,
and beside it MuJoCo alone: the same physics with the same controls, without observations, goals and rewards. Processor
time, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import gymnasium
import mujoco

from ksgen_envs.goal_env.environment import SUBSTEPS, WorkbenchEnv
from ksgen_envs.tasks import TASKS
from ksgen_models.errors import InvalidInput

_EPISODE = 200  # steps from one scene to the next


@dataclass(frozen=True)
class Speed:
    """Environment steps a second of processor time.

    Attributes:
        env_id: the task.
        environment: of the environment.
        physics: of MuJoCo alone, an environment step being ten of its steps.
    """

    env_id: str
    environment: float
    physics: float


def measure(env_id: str, steps: int = 4_000) -> Speed:
    """Measure one task.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        steps: environment steps, in episodes of 200; at least 200.

    Raises:
        InvalidInput: ``steps`` is too small.
    """
    if steps < _EPISODE:
        raise InvalidInput(f"steps is {steps}; give {_EPISODE} or more")
    env = gymnasium.make(env_id, continuing=True, disable_env_checker=True)
    inner = env.unwrapped
    assert isinstance(inner, WorkbenchEnv)
    env.action_space.seed(0)
    spent = {"environment": 0.0, "physics": 0.0}
    episodes = steps // _EPISODE
    try:
        for episode in range(episodes):
            env.reset(seed=episode)
            actions = [env.action_space.sample() for _ in range(_EPISODE)]
            controls = []
            began = time.process_time()
            for action in actions:
                env.step(action)
                controls.append(inner.data.ctrl.copy())
            spent["environment"] += time.process_time() - began
            env.reset(seed=episode)
            began = time.process_time()
            for control in controls:
                inner.data.ctrl[:] = control
                mujoco.mj_step(inner.model, inner.data, nstep=SUBSTEPS)
            spent["physics"] += time.process_time() - began
    finally:
        env.close()
    return Speed(env_id, **{name: episodes * _EPISODE / seconds for name, seconds in spent.items()})


def main(arguments: list[str] | None = None) -> None:
    """Print a table of all tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4_000, help="of each task")
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task (may be repeated)")
    asked = parser.parse_args(arguments)
    print("| environment | steps a second | MuJoCo alone | share of MuJoCo's |\n|---|---|---|---|")
    for env_id in asked.task or TASKS:
        speed = measure(env_id, asked.steps)
        share = speed.environment / speed.physics
        print(f"| `{env_id}` | {speed.environment:,.0f} | {speed.physics:,.0f} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
