"""Environments that this project did not write, made the way their users make them."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import gymnasium as gym


class _WholeNumbers(ModuleType):
    """MuJoCo with the joint types as plain ints.

    gymnasium-robotics 1.4.2 asks ``joint_type in (mjJNT_HINGE, mjJNT_SLIDE)`` of a numpy integer, which is never true
    since MuJoCo 3.12 (pybind11 3.1 compares enums with plain ints only).
    """

    def __init__(self, mujoco):
        super().__init__("mujoco")
        self._mujoco = mujoco
        self.mjtJoint = SimpleNamespace(**{name: int(value) for name, value in mujoco.mjtJoint.__members__.items()})

    def __getattr__(self, name):
        return getattr(self._mujoco, name)


def make_fetch(side=128, **options):
    """``FetchPickAndPlace-v4`` with a camera of ``side`` pixels."""
    import gymnasium_robotics
    from gymnasium_robotics.utils import mujoco_utils

    gym.register_envs(gymnasium_robotics)
    if not isinstance(mujoco_utils.mujoco, _WholeNumbers):
        mujoco_utils.mujoco = _WholeNumbers(mujoco_utils.mujoco)
    return gym.make("FetchPickAndPlace-v4", render_mode="rgb_array", width=side, height=side, **options)
