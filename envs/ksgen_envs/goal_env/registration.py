"""Registers the environments with Gymnasium; the simulator is imported when one is made."""

from __future__ import annotations

from ksgen_envs.tasks import TASKS

ENTRY_POINT = "ksgen_envs.goal_env.environment:WorkbenchEnv"

TIME_LIMITS: dict[str, int] = {
    "KSGen/AssembleShelf-v0": 1200,
    "KSGen/StackBlocks-v0": 1000,
    "KSGen/SortObjects-v0": 1200,
    "KSGen/StoreInDrawer-v0": 1000,
    "KSGen/InsertPegs-v0": 1000,
    "KSGen/SwitchOnLamp-v0": 600,
}
"""Env id → steps (of a 25th of a second) after which an episode is truncated; about twice what the expert needs."""


def register_envs() -> None:
    """Register the six tasks, those that are not yet."""
    from gymnasium.envs.registration import register, registry

    for env_id in TASKS:
        if env_id not in registry:
            register(env_id, ENTRY_POINT, max_episode_steps=TIME_LIMITS[env_id], kwargs={"env_id": env_id})
