"""Stills: the same scenes and ends as demonstrations, under every instruction."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from ksgen_envs import TASKS
from ksgen_envs.demonstrator import demonstrate
from ksgen_envs.stills import demonstrate_stills
from ksgen_envs.workbench import Workbench


def _instruction(env_id, seed, task):
    return next(asked for asked in Workbench(env_id, seed, image_size=64).instructions() if asked.task == task)


@pytest.mark.parametrize("env_id", TASKS)
def test_stills_end_where_a_demonstration_of_the_same_instruction_ends(env_id):
    stills = demonstrate_stills(env_id, 7, image_size=64)
    asked = _instruction(env_id, 7, stills.task)
    whole = demonstrate(env_id, 7, image_size=64, instruction=asked)
    np.testing.assert_allclose(stills.poses, whole.poses, atol=1e-5)
    assert [step.description for step in stills.steps] == [step.description for step in whole.steps]
    difference = np.abs(stills.images().astype(int) - whole.images().astype(int))
    assert (difference.max(-1) > 12).mean() < 0.005, "pictures are the same but for single pixels at edges"


def test_instructions_vary_with_the_seed():
    tasks = {demonstrate_stills("KSGen/SwitchOnLamp-v0", seed, image_size=32).steps[0].target for seed in range(8)}
    assert len(tasks) > 1
