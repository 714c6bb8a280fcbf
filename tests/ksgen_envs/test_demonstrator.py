"""The human demonstrator: what a recorded demonstration shows, for every task."""

import numpy as np
import pytest

from ksgen_envs import TASKS, Workbench, demonstrate
from ksgen_models.errors import InvalidInput

SEED = 1_000_007
SIZE = 128


@pytest.fixture(scope="module")
def demonstrations():
    """One demonstration of each task."""
    return {env_id: demonstrate(env_id, SEED, image_size=SIZE) for env_id in TASKS}


@pytest.mark.parametrize("env_id", TASKS)
def test_clip_starts_without_hands_and_shows_one_at_work(demonstrations, env_id):
    for step in demonstrations[env_id].steps:
        present = ~np.isnan(step.keypoints[..., 0, 0])
        assert not present[0].any()
        assert present[4:11].any(axis=1).all()
        assert not present.all(axis=1).any()
        np.testing.assert_array_equal(step.image, step.clip[0])
        assert step.clip.shape == (16, SIZE, SIZE, 3)
        inside = np.all((step.keypoints[..., :2] >= 0) & (step.keypoints[..., :2] < 1), axis=-1)
        assert inside[4:10].any(axis=1).sum(axis=-1).max() >= 15
        assert not (step.visible & ~inside).any()


@pytest.mark.parametrize("env_id", TASKS)
def test_next_step_begins_where_the_last_ended(demonstrations, env_id):
    images = demonstrations[env_id].images()
    np.testing.assert_array_equal(images[0], demonstrations[env_id].frame)
    for step, after in zip(demonstrations[env_id].steps, images[1:], strict=True):
        last = step.clip[-1].astype(int)
        gone = np.isnan(step.keypoints[-1, :, 0, 0]).all()
        if gone:
            np.testing.assert_array_equal(last, after)


@pytest.mark.parametrize("env_id", TASKS)
def test_every_step_reaches_its_goal(demonstrations, env_id):
    demonstration = demonstrations[env_id]
    steps = Workbench(env_id, SEED).instruction.steps
    for index, goal in enumerate(steps):
        target = demonstration.objects.index(goal.target)
        moved = np.abs(demonstration.poses[index + 1, target] - demonstration.poses[index, target]).max()
        assert moved > 1e-3
        if goal.verb == "place":
            np.testing.assert_allclose(demonstration.poses[index + 1, target, :3], goal.goal[:3], atol=1e-4)


@pytest.mark.parametrize("env_id", TASKS)
def test_hand_stays_above_the_table(demonstrations, env_id):
    camera = demonstrations[env_id].camera
    rotation, translation = camera.world_to_camera[:, :3], camera.world_to_camera[:, 3]
    for step in demonstrations[env_id].steps:
        points = step.keypoints[~np.isnan(step.keypoints[..., 0])].astype(float)
        pixels = np.concatenate([points[:, :2] * SIZE, np.ones((len(points), 1))], axis=1)
        seen = np.linalg.solve(camera.intrinsics, pixels.T).T * points[:, 2:]
        world = (seen - translation) @ rotation
        assert world[:, 2].min() > -0.002


@pytest.mark.parametrize("env_id", TASKS)
def test_regions_hold_what_moves(demonstrations, env_id):
    for step in demonstrations[env_id].steps:
        assert 0.01 < step.region_of_motion.mean() < 0.6
        changed = np.abs(step.clip.astype(int) - step.clip[0]).max(axis=(0, 3)) > 40
        assert (step.region_of_change | ~changed).mean() > 0.998
        assert (step.region_of_motion & step.region_of_change).sum() > 0.5 * step.region_of_motion.sum()


def test_same_seeds_same_demonstration_and_motion_seed_varies_it():
    first, again = (demonstrate(TASKS[5], SEED, image_size=64) for _ in range(2))
    np.testing.assert_array_equal(first.steps[0].clip, again.steps[0].clip)
    other = demonstrate(TASKS[5], SEED, motion_seed=3, image_size=64)
    np.testing.assert_array_equal(first.frame, other.frame)
    assert (first.steps[0].clip != other.steps[0].clip).any()


def test_another_instruction_moves_another_object():
    instructions = Workbench("KSGen/StackBlocks-v0", SEED).instructions()
    demonstration = demonstrate("KSGen/StackBlocks-v0", SEED, instruction=instructions[1], image_size=64)
    assert demonstration.task == instructions[1].task
    assert demonstration.steps[0].target == instructions[1].steps[0].target


def test_negative_motion_seed_is_refused():
    with pytest.raises(InvalidInput, match="motion_seed"):
        demonstrate(TASKS[0], SEED, motion_seed=-1)
