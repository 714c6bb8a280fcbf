"""Demonstrations without clips: what the camera sees before and after every key step.

They show what a step changes at a fraction of a demonstration's cost, so that the KIG and the scene reader can learn
from many more scenes, and from every instruction that a scene allows. Where hands go when a step is done in several
ways can be had with them: planning and posing a hand costs a tenth of a second, a clip's pictures several times that.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.demonstrator import motion_generator, plan_step, pose_at, undo
from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.stage import SLOT, Stage, sample_person
from ksgen_envs.tasks import TASKS
from ksgen_envs.workbench import Workbench, set_goal
from ksgen_models.demonstration import CLIP_FPS, CLIP_FRAMES, Demonstration, DemonstrationStep
from ksgen_models.errors import InvalidInput
from ksgen_models.types import HAND_KEYPOINTS

_FIRST_WAY = 500_000_000
"""Motion seeds from here on are those of ways; demonstrations have lower ones."""


def demonstrate_stills(env_id: str, seed: int, *, image_size: int = 256, ways: int = 0) -> Demonstration:
    """Do one of the scene's instructions, chosen by the seed, without showing how.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        seed: of the scene.
        image_size: width and height of the pictures, pixels.
        ways: in how many ways each step is done, for the keypoints of its hands; a tenth of a second each.

    Returns:
        A demonstration whose clips, keypoints and visibilities have zero frames, whose regions are empty, and whose
        steps have that many ``ways``.

    Raises:
        UnknownTask: no such task.
        InvalidInput: the seed, the size or the number of ways is out of range.
    """
    if isinstance(ways, bool) or ways < 0:
        raise InvalidInput(f"ways is {ways!r}; give an integer of 0 or more")
    bench = Workbench(env_id, seed, image_size=image_size)
    asked = _any_instruction(bench)
    with closing(Stage(bench, *sample_person(seed))) as stage:
        images, poses, done = [stage.picture()], [bench.object_poses(stage.model, stage.data)], []
        for place, goal in enumerate(asked.steps):
            done.append(done_in_ways(stage, goal, place, ways))
            set_goal(stage.model, stage.data, goal)
            stage.refresh()
            images.append(stage.picture())
            poses.append(bench.object_poses(stage.model, stage.data))
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
            ways=keypoints,
        )
        for goal, image, keypoints in zip(asked.steps, images, done, strict=False)
    )
    return Demonstration(
        env_id=env_id,
        seed=int(seed),
        motion_seed=int(seed),
        task=asked.task,
        frame=images[0],
        goal=images[-1],
        camera=stage.camera,
        fps=CLIP_FPS,
        look=sample_person(seed)[0],
        objects=bench.object_names,
        steps=steps,
        poses=np.stack(poses).astype(np.float32),
    )


def done_in_ways(stage: Stage, goal: StepGoal, place: int, ways: int) -> NDArray[np.float32]:
    """Do one step in several ways from the stage's present state, which is left as it was.

    Args:
        stage: the scene before the step.
        goal: what the step brings about.
        place: of the step in its plan; with the scene's seed it decides what the ways are.
        ways: how many.

    Returns:
        (ways, 16, 2, 21, 3) float32, the keypoints of each, as in `DemonstrationStep`.
    """
    bench = stage.bench
    keypoints = np.full((ways, CLIP_FRAMES, 2, HAND_KEYPOINTS, 3), np.nan, np.float32)
    for way in range(ways):
        rng, habit = motion_generator(bench.env_id, bench.seed, _FIRST_WAY + 100 * way + place)
        work = plan_step(stage, goal, habit, rng)
        hand = stage.hands[work.touch.side]
        for time in range(CLIP_FRAMES):
            pose_at(stage, work, float(time))
            if hand.present:
                points = stage.camera.project(hand.keypoints())
                keypoints[way, time, SLOT[work.touch.side]] = points / [bench.image_size, bench.image_size, 1.0]
        undo(stage, work)
    return keypoints


def _any_instruction(bench: Workbench) -> Instruction:
    offered = bench.instructions()
    return offered[np.random.default_rng([TASKS.index(bench.env_id), bench.seed, 15485863]).integers(len(offered))]
