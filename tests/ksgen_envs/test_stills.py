"""Stills: the same scenes and ends as demonstrations, under every instruction."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from ksgen_envs import TASKS
from ksgen_envs.demonstrator import demonstrate, region_of_motion
from ksgen_envs.stills import demonstrate_stills
from ksgen_envs.workbench import Workbench
from ksgen_models.errors import InvalidInput
from ksgen_models.rom import mask_iou


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


def test_ways_differ_and_look_like_those_of_demonstrations():
    seed, ways = 7, 4
    stills = demonstrate_stills("KSGen/StackBlocks-v0", seed, image_size=64, ways=ways)
    asked = _instruction("KSGen/StackBlocks-v0", seed, stills.task)
    others = [
        demonstrate("KSGen/StackBlocks-v0", seed, motion, image_size=64, instruction=asked).steps[0].region_of_motion
        for motion in range(3)
    ]
    for step in stills.steps:
        assert step.ways.shape == (ways, 16, 2, 21, 3)
        assert np.isfinite(step.ways).all((3, 4)).any(2).sum(1).min() >= 8, "a hand is there in half of the frames"
        assert len({way.tobytes() for way in step.ways}) == ways
    likely = np.mean([region_of_motion(way, 64) for way in stills.steps[0].ways], axis=0) >= 0.5
    assert all(mask_iou(likely, other) > 0.2 for other in others)


def test_ways_change_nothing_of_the_stills():
    plain, asked = (demonstrate_stills("KSGen/StoreInDrawer-v0", 3, image_size=64, ways=ways) for ways in (0, 2))
    assert np.array_equal(plain.images(), asked.images())
    assert np.array_equal(plain.poses, asked.poses)


def test_a_number_of_ways_below_zero_is_refused():
    with pytest.raises(InvalidInput, match="-1"):
        demonstrate_stills("KSGen/StoreInDrawer-v0", 3, ways=-1)
