"""Executability: can the robot do what a clip of a Workbench scene shows?

The clip is all that is looked at, so that every generator is judged alike: its first frame is taken as the key-step
image, its last as the goal, and the hands are those that the tracker finds in it.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.execution import KeyStepExecutor
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.tasks import TASKS, task_slug
from ksgen_models.interfaces import Tracker
from ksgen_models.rom import region_of_keypoints
from ksgen_models.types import HandTrack, KeyStep, RegionOfMotion

# As `ksgen-agent generate-demos` names a task's folder, and as people name the task: stack_blocks, StackBlocks.
_NAMES = {name: env_id for env_id in TASKS for name in (task_slug(env_id), env_id.rpartition("/")[2].partition("-")[0])}
_KEY = re.compile(r"(?P<task>\w+)/(?P<seed>\d+)/step_(?P<step>\d+)")


def scene_of(key: str) -> tuple[str, int, int] | None:
    """Environment, scene seed and key step that a clip's key ``<task>/<seed>/step_00`` names; None for any other."""
    found = _KEY.fullmatch(key)
    if found is None or found["task"] not in _NAMES:
        return None
    return _NAMES[found["task"]], int(found["seed"]), int(found["step"])


def key_step_of_clip(clip: NDArray[np.uint8], fps: float, text: str, hands: HandTrack, index: int = 0) -> KeyStep:
    """A clip as a `KeyStep`: its first frame is the key-step image, its last the goal, its own RoM the predicted one.

    Args:
        clip: (T, H, W, 3) uint8.
        fps: frames a second.
        text: the step's sentence.
        hands: the clip's hand track.
        index: which step of a plan it is.
    """
    per_frame, observed = region_of_keypoints(hands.keypoints, clip.shape[1], clip.shape[2])
    predicted = observed.astype(np.float32)
    region = RegionOfMotion(predicted=predicted, observed=observed, per_frame=per_frame, change=predicted)
    return KeyStep(index, text, clip[0], clip[-1], clip, fps, hands, region)


class Executability:
    """Judges clips of Workbench scenes by having the robot do them.

    Args:
        tracker: finds the hands.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def __call__(self, key: str, clip: NDArray[np.uint8], fps: float, text: str) -> float:
        """1 if the robot, led by the clip from the true scene before its key step, reaches the step's goal, else 0.

        Args:
            key: ``<task>/<seed>/step_00``, which names scene and key step; NaN comes back for any other.
            clip: (T, H, W, 3) uint8.
            fps: frames a second.
            text: the step's sentence, by which a robot knows what kind of contact is asked for.
        """
        scene = scene_of(key)
        if scene is None:
            return float("nan")
        env_id, seed, index = scene
        env = WorkbenchEnv(env_id, continuing=True)
        try:
            env.reset(options={"scene_seed": seed})
            if index >= len(env.instruction.steps):
                return float("nan")
            env.reset(options={"scene_seed": seed, "key_step": index})
            step = key_step_of_clip(clip, fps, text, self._tracker.track(clip, fps), index)
            return float(KeyStepExecutor(env).execute(step).success)
        finally:
            env.close()
