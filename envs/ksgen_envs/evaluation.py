"""How good is an imaginer, measured on Workbench scenes that its models have not seen?

Every figure compares what was imagined from a scene's camera frame and instruction with what the human demonstrator
does there, and, where people differ, with how far the demonstrator agrees with himself when he does it once more.
Development seeds (1,000,000–1,999,999) are for choosing between weights; seeds from 2,000,000 on are refused unless a
final evaluation is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ksgen_envs.continuing import meaning
from ksgen_envs.datasets import check_seeds
from ksgen_envs.places import LANDED, State, true_states
from ksgen_models.errors import KSGenError
from ksgen_models.metrics import aligned_keypoint_error, detection_rate, keypoint_error, outside_psnr
from ksgen_models.rom import mask_iou

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_envs.scene_store import SceneStore
    from ksgen_models.demonstration import Demonstration, DemonstrationStep
    from ksgen_models.interfaces import Tracker
    from ksgen_models.types import HandTrack, KeyStep


@dataclass(frozen=True)
class StepFigures:
    """One imagined key step against the demonstrated one that moves the same thing.

    Attributes:
        index: place in the demonstration.
        target: what is to be moved.
        as_planned: the two sentences ask for the same.
        motion_iou: predicted against true region of motion.
        motion_floor: of the demonstrator, who does it once more, against himself.
        outside_psnr: dB outside the region of change (true or predicted, dilated by 4 pixels).
        keypoint_error: palm lengths, frame by frame; NaN where no pair of hands is there to compare.
        aligned_error: the same with time alignment, over frames with a hand.
        aligned_floor: of the demonstrator, tracked while he does it once more.
        off: metres by which the moved thing is off its true place in the last frame; NaN where it is not found.
        happened: the last frame looks more like the scene after the step than before it, where these differ.
        scores: the key step's own.
    """

    index: int
    target: str
    as_planned: bool
    motion_iou: float
    motion_floor: float
    outside_psnr: float
    keypoint_error: float
    aligned_error: float
    aligned_floor: float
    off: float
    happened: bool
    scores: Mapping[str, float]

    @property
    def landed(self) -> bool:
        """What was to be moved is where it belongs, to 2 cm."""
        return self.happened and self.off <= LANDED


@dataclass(frozen=True)
class SceneFigures:
    """One scene, one imagination.

    Attributes:
        env_id, seed: the scene.
        task: what was asked.
        error: why there is no imagination, or "".
        same_length: the plan has as many steps as the demonstration.
        generated_rate, true_rate: share of clip frames in which the tracker finds a hand.
        steps: the pairs of key steps.
        seconds: how long the imagination took, when it was made.
    """

    env_id: str
    seed: int
    task: str
    error: str = ""
    same_length: bool = False
    generated_rate: float = 0.0
    true_rate: float = 0.0
    steps: tuple[StepFigures, ...] = field(default=())
    seconds: float = 0.0


def evaluate_scenes(
    imaginer: Imaginer,
    tracker: Tracker,
    tasks: Sequence[str],
    seeds: range,
    store: SceneStore,
    *,
    final_evaluation: bool = False,
) -> Iterator[SceneFigures]:
    """Imagine each (task, seed), unless the store has it, and compare with the demonstration; yields as they are done.

    Raises:
        InvalidInput: a seed is reserved for the final evaluation.
    """
    check_seeds(seeds, final_evaluation)
    for seed in seeds:
        for env_id in tasks:
            yield _evaluate_scene(imaginer, tracker, env_id, seed, store)


def _evaluate_scene(imaginer: Imaginer, tracker: Tracker, env_id: str, seed: int, store: SceneStore) -> SceneFigures:
    demonstration = store.demonstration(env_id, seed)
    try:
        imagination = store.imagination(imaginer, env_id, seed)
    except KSGenError as exc:
        return SceneFigures(env_id, seed, demonstration.task, error=f"{type(exc).__name__}: {exc}")
    again = store.demonstration(env_id, seed, again=True)
    states = true_states(env_id, seed)
    tracks = [tracker.track(step.clip, demonstration.fps) for step in again.steps]
    return SceneFigures(
        env_id,
        seed,
        demonstration.task,
        same_length=len(imagination.steps) == len(demonstration.steps),
        generated_rate=float(np.mean([detection_rate(step.hands) for step in imagination.steps])),
        true_rate=_true_rate(tracker, demonstration),
        steps=tuple(
            _compare(step, demonstration.steps[place], again.steps[place], tracks[place], states, place)
            for step, place in _paired(imagination.steps, demonstration.steps)
        ),
        seconds=float(imagination.timings.get("total", float("nan"))),
    )


def _compare(
    step: KeyStep,
    true: DemonstrationStep,
    again: DemonstrationStep,
    track: HandTrack,
    states: Sequence[State],
    place: int,
) -> StepFigures:
    before, after = states[place], states[place + 1]
    end = step.clip[-1]
    where = after.places.get(true.target)
    return StepFigures(
        index=place,
        target=true.target,
        as_planned=meaning(step.description) == meaning(true.description),
        motion_iou=mask_iou(step.region_of_motion.predicted >= 0.5, true.region_of_motion),
        motion_floor=mask_iou(again.region_of_motion, true.region_of_motion),
        outside_psnr=outside_psnr(step.clip, step.image, true.region_of_change | (step.region_of_motion.change >= 0.5)),
        keypoint_error=keypoint_error(step.hands, true.keypoints),
        aligned_error=aligned_keypoint_error(step.hands, true.keypoints),
        aligned_floor=aligned_keypoint_error(track, true.keypoints),
        # What is out of sight when the step is done, in a closed drawer, cannot be looked for.
        off=where.found(end) if where is not None else 0.0,
        happened=_happened(before, after, end),
        scores=dict(step.scores),
    )


def _happened(before: State, after: State, end: np.ndarray) -> bool:
    changed = np.abs(after.picture.astype(np.int16) - before.picture).max(-1) > 12
    to_before, to_after = (
        np.abs(state.picture[changed].astype(np.int16) - end[changed]).mean() if changed.any() else 0.0
        for state in (before, after)
    )
    return bool(to_after < to_before)


def _paired(imagined: Sequence[KeyStep], demonstrated: Sequence[DemonstrationStep]) -> Iterator[tuple[KeyStep, int]]:
    """Pair steps that ask for the same, then such that name the same object, those of one place first.

    "Sort everything" leaves the order open.
    """
    left = dict(enumerate(imagined))
    chosen: dict[int, int] = {}

    def choose(fits: Callable[[KeyStep, DemonstrationStep], bool]) -> None:
        for place, true in enumerate(demonstrated):
            if place in chosen:
                continue
            named = [key for key, step in left.items() if fits(step, true)]
            if named:
                chosen[place] = place if place in named else named[0]
                del left[chosen[place]]

    choose(lambda step, true: meaning(step.description) == meaning(true.description))
    choose(lambda step, true: set(true.target.split()) <= set(step.description.lower().split()))
    choose(lambda step, true: True)  # what the plan names nowhere is held against what it has too many
    for place, key in sorted(chosen.items()):
        yield imagined[key], place


def _true_rate(tracker: Tracker, demonstration: Demonstration) -> float:
    return float(np.mean([detection_rate(tracker.track(step.clip, demonstration.fps)) for step in demonstration.steps]))
