"""Simulated scenes, human demonstrations and Gymnasium environments for KSGen-Agent.

Importing this registers the environments, where Gymnasium is installed; mujoco is imported when the first scene is
made.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ksgen_envs.goal_env.registration import register_envs
from ksgen_envs.tasks import TASKS

if TYPE_CHECKING:
    from ksgen_envs.datasets import DatasetSummary, generate_demonstrations
    from ksgen_envs.demonstrator import demonstrate
    from ksgen_envs.goal_env.environment import WorkbenchEnv
    from ksgen_envs.goals import Grasp, Instruction, StepGoal
    from ksgen_envs.subgoals.vector import VectorSubgoalWrapper
    from ksgen_envs.subgoals.wrapper import SubgoalWrapper
    from ksgen_envs.workbench import Workbench

_HOMES = {
    "DatasetSummary": "datasets",
    "Grasp": "goals",
    "Instruction": "goals",
    "StepGoal": "goals",
    "SubgoalWrapper": "subgoals.wrapper",
    "VectorSubgoalWrapper": "subgoals.vector",
    "Workbench": "workbench",
    "WorkbenchEnv": "goal_env.environment",
    "demonstrate": "demonstrator",
    "generate_demonstrations": "datasets",
}

__all__ = [
    "TASKS",
    "DatasetSummary",
    "Grasp",
    "Instruction",
    "StepGoal",
    "SubgoalWrapper",
    "VectorSubgoalWrapper",
    "Workbench",
    "WorkbenchEnv",
    "demonstrate",
    "generate_demonstrations",
    "register_envs",
]

# `gymnasium.make("ksgen_envs:KSGen/StackBlocks-v0")` imports this package and expects to find its environments.
with suppress(ModuleNotFoundError):
    register_envs()


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
