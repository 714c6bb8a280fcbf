"""The Workbench's tasks: each module's ``build(rng, view)`` samples a scene and says its instructions.

Importing this costs nothing; a task's module is imported when a scene of it is made.
"""

from __future__ import annotations

TASK_MODULES: dict[str, str] = {
    "KSGen/AssembleShelf-v0": "assemble_shelf",
    "KSGen/StackBlocks-v0": "stack_blocks",
    "KSGen/SortObjects-v0": "sort_objects",
    "KSGen/StoreInDrawer-v0": "store_in_drawer",
    "KSGen/InsertPegs-v0": "insert_pegs",
    "KSGen/SwitchOnLamp-v0": "switch_on_lamp",
}
"""Env id → module of this package."""

TASKS: tuple[str, ...] = tuple(TASK_MODULES)
"""The env ids of all tasks."""


def task_slug(env_id: str) -> str:
    """The folder name of a task: ``KSGen/StackBlocks-v0`` → ``stack_blocks``."""
    return TASK_MODULES[env_id]
