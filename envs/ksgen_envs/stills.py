"""Demonstrations without a hand: what the camera sees before and after every key step, and no clips.

They show what a step changes at a fraction of a demonstration's cost, so that the KIG and the scene reader can learn
from many more scenes, and from every instruction that a scene allows.
"""

from __future__ import annotations

import numpy as np

from ksgen_envs.goals import Instruction
from ksgen_envs.offscreen import Pictures
from ksgen_envs.stage import sample_person
from ksgen_envs.tasks import TASKS
from ksgen_envs.workbench import Workbench, set_goal
from ksgen_models.demonstration import CLIP_FPS, Demonstration, DemonstrationStep
from ksgen_models.types import HAND_KEYPOINTS


def demonstrate_stills(env_id: str, seed: int, *, image_size: int = 256) -> Demonstration:
    """Do one of the scene's instructions, chosen by the seed, without showing how.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        seed: of the scene.
        image_size: width and height of the pictures, pixels.

    Returns:
        A demonstration whose clips, keypoints and visibilities have zero frames and whose regions are empty.

    Raises:
        UnknownTask: no such task.
        InvalidInput: the seed or the size is out of range.
    """
    bench = Workbench(env_id, seed, image_size=image_size)
    asked = _any_instruction(bench)
    model, data = bench.start()
    bench.apply_effects(model, data)
    pictures = Pictures(model, bench.camera_name, image_size)
    try:
        images, poses = [pictures.take(data)], [bench.object_poses(model, data)]
        for goal in asked.steps:
            set_goal(model, data, goal)
            bench.apply_effects(model, data)
            images.append(pictures.take(data))
            poses.append(bench.object_poses(model, data))
    finally:
        pictures.close()
    nowhere = np.zeros((image_size, image_size), bool)
    steps = tuple(
        DemonstrationStep(
            description=goal.description,
            target=goal.target,
            image=image,
            clip=np.empty((0, *image.shape), np.uint8),
            keypoints=np.empty((0, 2, HAND_KEYPOINTS, 3), np.float32),
            visible=np.empty((0, 2, HAND_KEYPOINTS), bool),
            region_of_motion=nowhere,
            region_of_change=nowhere,
        )
        for goal, image in zip(asked.steps, images, strict=False)
    )
    return Demonstration(
        env_id=env_id,
        seed=int(seed),
        motion_seed=int(seed),
        task=asked.task,
        frame=images[0],
        goal=images[-1],
        camera=bench.camera(model, data),
        fps=CLIP_FPS,
        look=sample_person(seed)[0],
        objects=bench.object_names,
        steps=steps,
        poses=np.stack(poses).astype(np.float32),
    )


def _any_instruction(bench: Workbench) -> Instruction:
    offered = bench.instructions()
    return offered[np.random.default_rng([TASKS.index(bench.env_id), bench.seed, 15485863]).integers(len(offered))]
