"""Subgoals that are true: what a person's hands would do in the scene that an environment is in.

They are the upper bound that imagined subgoals are measured against, and what policies are trained with, since a
demonstration costs a fraction of an imagination.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd
from ksgen_envs.demonstrator import finish, motion_generator, plan_step, pose_at, region_of_motion
from ksgen_envs.executors.sight import Sight
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.stage import Stage, sample_person
from ksgen_envs.workbench import Workbench
from ksgen_models.demonstration import CLIP_FPS, CLIP_FRAMES, Camera
from ksgen_models.errors import InvalidInput
from ksgen_models.interfaces import SentenceEncoder
from ksgen_models.scores import SCORES
from ksgen_models.types import HandTrack, KeyStep, Plan, RegionOfMotion

if TYPE_CHECKING:
    from ksgen_envs.goals import StepGoal

_INSIDE = 0.7  # of a hand's keypoints are in the picture: a tracker would find it


class DemonstrationImaginer:
    """An `Imaginer` that looks into the simulator: the simulated person does what is left of the present instruction.

    Pictures before and after each key step and hands are exact. Clips have zero frames: drawing them takes most of a
    demonstration's time, and hands say where they go without.

    Args:
        env: a Workbench environment, wrapped or not; imagine while it stands still (as `SubgoalWrapper.reset` does).
        encoder: of sentences.
        pictures: False leaves the frame in the place of all pictures: drawing these takes most of what is left, and a
            policy that reads hands does not look at them.

    Raises:
        InvalidInput: the environment is another one.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], encoder: SentenceEncoder, *, pictures: bool = True) -> None:
        if not isinstance(env.unwrapped, WorkbenchEnv):
            raise InvalidInput(f"true subgoals are known of the Workbench only, not of {env.unwrapped!r}")
        self._env: WorkbenchEnv = env.unwrapped
        self._encoder, self._pictures = encoder, pictures

    @property
    def spec(self) -> ImaginerSpec:
        """What this imaginer is."""
        return ImaginerSpec(
            preset="demonstration",
            description="the simulated person's true hands",
            fps=CLIP_FPS,
            embedding_dimension=self._encoder.dimension,
            score_names=tuple(score.name for score in SCORES),
            working_side=self._env.image_size,
            provenance={},
        )

    def imagine(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Imagination:
        """What is left to do from the environment's present state, as a person would do it.

        Args:
            frame: (H, W, 3) uint8, kept as the imagination's frame.
            task: in words, kept likewise.
            seed: of the motion.
            allow_out_of_domain: not looked at; every scene is known.
        """
        env = self._env
        goals = _steps_left(env)
        sentences = tuple(goal.description for goal in goals)
        embeddings = self._encoder.embed(sentences)
        rng, habit = motion_generator(env.env_id, env.bench.seed, seed)
        stage = Stage(Workbench(env.env_id, env.bench.seed, image_size=env.image_size), *sample_person(env.bench.seed))
        try:
            _copy_state(env, stage)
            before, steps = (stage.picture() if self._pictures else frame), []
            for index, (goal, embedding) in enumerate(zip(goals, embeddings, strict=True)):
                keypoints = _perform(stage, goal, habit, rng)
                after = stage.picture() if self._pictures else frame
                steps.append(_key_step(index, goal, before, after, keypoints, stage.camera, embedding))
                before = after
        finally:
            stage.close()
        return Imagination(task, frame, Plan(task, sentences, 1.0, "demonstration"), tuple(steps), {})

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """The key steps of `imagine`, all at once."""
        whole = self.imagine(frame, task, seed=seed)
        yield from whole.steps
        return StreamEnd(whole.plan, whole.timings)


def _steps_left(env: WorkbenchEnv) -> tuple[StepGoal, ...]:
    steps = env.instruction.steps
    first = next(index for index, step in enumerate(steps) if step is env.key_step)
    return steps[first:]


def _copy_state(env: WorkbenchEnv, stage: Stage) -> None:
    # Joints by name: the one scene has a robot, the other hands.
    for index in range(env.model.njnt):
        name = env.model.joint(index).name
        if _has_joint(stage.model, name):
            stage.data.joint(name).qpos[:] = env.data.joint(name).qpos
    stage.refresh()


def _has_joint(model: Any, name: str) -> bool:
    import mujoco

    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name) >= 0


def _perform(stage: Stage, goal: StepGoal, habit: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(16, 2, 21, 3) keypoints, as `ksgen_models.demonstration.DemonstrationStep` has them; the step is done after."""
    work = plan_step(stage, goal, habit, rng)
    keypoints = []
    for index in range(CLIP_FRAMES):
        pose_at(stage, work, float(index))
        keypoints.append(stage.keypoints()[0])
    finish(stage, work)
    return np.stack(keypoints)


def _key_step(
    index: int,
    goal: StepGoal,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    keypoints: NDArray[np.float32],
    camera: Camera,
    embedding: NDArray[np.float32],
) -> KeyStep:
    size = before.shape[0]
    mask = region_of_motion(keypoints, size)
    region = RegionOfMotion(
        mask.astype(np.float32), mask, np.zeros((0, size, size), bool), np.zeros((size, size), np.float32)
    )
    return KeyStep(
        index=index,
        description=goal.description,
        image=before,
        goal=after,
        clip=np.empty((0, *before.shape), np.uint8),
        fps=CLIP_FPS,
        hands=exact_track(keypoints, Sight(camera, size, size)),
        region_of_motion=region,
        embedding=np.asarray(embedding, np.float32),
    )


def exact_track(keypoints: NDArray[np.float32], sight: Sight) -> HandTrack:
    """A demonstration's keypoints in a hand track's terms.

    Args:
        keypoints: (T, 2, 21, 3), x and y normalised, z camera depth in metres; NaN where absent.
        sight: the camera.
    """
    with np.errstate(invalid="ignore"):
        inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] < 1)).all(axis=-1).mean(axis=-1)  # (T, 2)
    valid = inside >= _INSIDE
    world = sight.lift(keypoints[..., :2], keypoints[..., 2])
    depth, wrist = keypoints[..., 2], keypoints[..., :1, 2]
    # Weak perspective, as MediaPipe has it: depth in units of the picture's width at the wrist.
    focal = float(sight.camera.intrinsics[0, 0]) / sight.width
    image = np.concatenate([keypoints[..., :2], ((depth - wrist) * focal / wrist)[..., None]], axis=-1)
    seen = valid[..., None, None]
    return HandTrack(
        keypoints=np.where(seen, image, np.nan).astype(np.float32),
        world=np.where(seen, world - world.mean(axis=-2, keepdims=True), np.nan).astype(np.float32),
        confidence=valid.astype(np.float32),
        valid=valid,
        interpolated=np.zeros_like(valid),
    )
