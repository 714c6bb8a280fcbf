"""Executability asks the robot, by the clip alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("mediapipe")

from ksgen_envs import demonstrate
from ksgen_envs.executors.executability import Executability, key_step_of_clip, scene_of
from ksgen_models import assets
from ksgen_models.types import HandTrack

LAMP, SCENE = "KSGen/SwitchOnLamp-v0", 1_000_041


def test_keys_name_scenes() -> None:
    assert scene_of("stack_blocks/1000003/step_02") == ("KSGen/StackBlocks-v0", 1_000_003, 2)
    assert scene_of("StackBlocks/1000003/step_00") == ("KSGen/StackBlocks-v0", 1_000_003, 0)
    assert scene_of("cooking/1000003/step_00") is None
    assert scene_of("stack_blocks/kitchen/step_00") is None


def test_a_clip_alone_makes_a_key_step() -> None:
    clip = np.zeros((3, 32, 32, 3), np.uint8)
    clip[-1] = 200
    keypoints = np.full((3, 2, 21, 3), np.nan, np.float32)
    keypoints[1, 1, :, :2] = np.random.default_rng(0).uniform(0.25, 0.75, (21, 2))
    valid = np.isfinite(keypoints[..., 0, 0])
    hands = HandTrack(keypoints, keypoints, valid.astype(np.float32), valid, np.zeros_like(valid))
    step = key_step_of_clip(clip, 8.0, "press the button", hands, 1)
    assert (step.index, step.description) == (1, "press the button")
    assert (step.image == 0).all()
    assert (step.goal == 200).all()
    assert step.region_of_motion.per_frame[1].any()
    assert not step.region_of_motion.per_frame[[0, 2]].any()


@pytest.mark.skipif(not assets.is_present(assets.HAND_LANDMARKER), reason="run: ksgen-agent assets")
def test_the_robot_does_a_true_clip_and_not_a_frozen_one() -> None:
    from ksgen_models.hands.tracker import HandTracker

    shown = demonstrate(LAMP, SCENE)
    index = next(number for number, step in enumerate(shown.steps) if "press" in step.description.lower())
    step, key = shown.steps[index], f"SwitchOnLamp/{SCENE}/step_{index:02d}"
    with HandTracker() as tracker:
        judge = Executability(tracker)
        assert judge(key, step.clip, shown.fps, step.description) == 1
        frozen = np.repeat(step.clip[:1], len(step.clip), axis=0)
        assert judge(key, frozen, shown.fps, step.description) == 0
        assert np.isnan(judge("pour/clip_07/step_00", step.clip, shown.fps, step.description))
        assert np.isnan(judge(f"SwitchOnLamp/{SCENE}/step_09", step.clip, shown.fps, step.description))
