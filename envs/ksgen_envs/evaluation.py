"""How good is an imaginer, measured on Workbench scenes that its models have not seen?

Every figure compares what was imagined from a scene's camera frame and instruction with what the human demonstrator
does there. Development seeds (1,000,000–1,999,999) are for choosing between weights; seeds from 2,000,000 on are
refused unless a final evaluation is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.datasets import EVALUATION_SEEDS
from ksgen_models.demonstration import Demonstration
from ksgen_models.errors import InvalidInput, KSGenError
from ksgen_models.metrics import detection_rate, keypoint_error, nearest_outcome, outside_psnr
from ksgen_models.rom import mask_iou

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_envs.goals import Instruction
    from ksgen_models.demonstration import DemonstrationStep
    from ksgen_models.interfaces import Tracker
    from ksgen_models.types import KeyStep


@dataclass(frozen=True)
class SceneFigures:
    """One scene, one imagination.

    Attributes:
        env_id, seed: the scene.
        task: what was asked.
        error: why there is no imagination, or "".
        same_length: the plan has as many steps as the demonstration.
        generated_rate, true_rate: share of clip frames in which the tracker finds a hand.
        motion_iou: per pair of key steps that move the same thing, predicted against true region of motion.
        outside_psnr: per key step, dB outside the region of change (true or predicted).
        keypoint_error: per key step, palm lengths; NaN where no pair of hands is there to compare.
        seconds: how long the imagination took.
    """

    env_id: str
    seed: int
    task: str
    error: str = ""
    same_length: bool = False
    generated_rate: float = 0.0
    true_rate: float = 0.0
    motion_iou: tuple[float, ...] = ()
    outside_psnr: tuple[float, ...] = ()
    keypoint_error: tuple[float, ...] = ()
    seconds: float = 0.0


def evaluate_scenes(
    imaginer: Imaginer,
    tracker: Tracker,
    tasks: Sequence[str],
    seeds: range,
    *,
    final_evaluation: bool = False,
) -> Iterator[SceneFigures]:
    """Imagine each (task, seed) and compare with the demonstration; yields as they are done.

    Raises:
        InvalidInput: a seed is reserved for the final evaluation.
    """
    check_seeds(seeds, final_evaluation)
    for seed in seeds:
        for env_id in tasks:
            yield _evaluate_scene(imaginer, tracker, env_id, seed)


def _evaluate_scene(imaginer: Imaginer, tracker: Tracker, env_id: str, seed: int) -> SceneFigures:
    from ksgen_envs.demonstrator import demonstrate

    demonstration = demonstrate(env_id, seed)
    started = time.perf_counter()
    try:
        imagination = imaginer.imagine(demonstration.frame, demonstration.task, seed=seed)
    except KSGenError as exc:
        return SceneFigures(env_id, seed, demonstration.task, error=f"{type(exc).__name__}: {exc}")
    seconds = time.perf_counter() - started
    pairs = list(_paired(imagination.steps, demonstration.steps))
    return SceneFigures(
        env_id,
        seed,
        demonstration.task,
        same_length=len(imagination.steps) == len(demonstration.steps),
        generated_rate=float(np.mean([detection_rate(step.hands) for step in imagination.steps])),
        true_rate=_true_rate(tracker, demonstration),
        motion_iou=tuple(
            mask_iou(step.region_of_motion.predicted >= 0.5, true.region_of_motion) for step, true in pairs
        ),
        outside_psnr=tuple(
            outside_psnr(step.clip, step.image, true.region_of_change | (step.region_of_motion.change >= 0.5))
            for step, true in pairs
        ),
        keypoint_error=tuple(keypoint_error(step.hands, true.keypoints) for step, true in pairs),
        seconds=seconds,
    )


def _paired(
    imagined: Sequence[KeyStep], demonstrated: Sequence[DemonstrationStep]
) -> Iterator[tuple[KeyStep, DemonstrationStep]]:
    """Pair steps that name the same object, those of one place first: "sort everything" leaves the order open."""
    left = dict(enumerate(imagined))
    chosen: dict[int, int] = {}
    for place, true in enumerate(demonstrated):
        words = set(true.target.split())
        named = [key for key, step in left.items() if words <= set(step.description.lower().split())]
        if named:
            chosen[place] = place if place in named else named[0]
            del left[chosen[place]]
    for place in range(len(demonstrated)):  # what the plan names nowhere is held against what it has too many
        if place not in chosen and left:
            chosen[place] = place if place in left else min(left)
            del left[chosen[place]]
    for place, key in sorted(chosen.items()):
        yield imagined[key], demonstrated[place]


def _true_rate(tracker: Tracker, demonstration: Demonstration) -> float:
    return float(np.mean([detection_rate(tracker.track(step.clip, demonstration.fps)) for step in demonstration.steps]))


@dataclass(frozen=True)
class InstructionPair:
    """One scene imagined under two instructions.

    Attributes:
        env_id, seed: the scene.
        wanted: the objects that the two instructions move.
        moved: the objects whose moving explains best what changed, "nothing", or the name of the error.
    """

    env_id: str
    seed: int
    wanted: tuple[str, str]
    moved: tuple[str, str]

    @property
    def followed(self) -> bool:
        """Each instruction moved its own object."""
        return self.wanted == self.moved


def evaluate_pairs(
    imaginer: Imaginer, tasks: Sequence[str], seeds: range, *, final_evaluation: bool = False
) -> Iterator[InstructionPair]:
    """Give each scene two instructions that begin with different objects; see which object each clip moves.

    Raises:
        InvalidInput: a seed is reserved for the final evaluation.
    """
    check_seeds(seeds, final_evaluation)
    for seed in seeds:
        for env_id in tasks:
            pair = _two_instructions(env_id, seed)
            if pair is not None:
                yield _evaluate_pair(imaginer, env_id, seed, pair)


def _two_instructions(env_id: str, seed: int) -> tuple[Instruction, Instruction] | None:
    """Two that begin with different objects, and say so where they can: "sort everything" leaves the order open."""
    from ksgen_envs.workbench import Workbench

    instructions = sorted(Workbench(env_id, seed).instructions(), key=lambda one: not _says_where_to_begin(one))
    others = [other for other in instructions[1:] if other.steps[0].target != instructions[0].steps[0].target]
    return (instructions[0], others[0]) if others else None


def _says_where_to_begin(instruction: Instruction) -> bool:
    """The task has the word that tells its first object from the others: a colour, a side, or what it is."""
    words = instruction.task.replace(",", " ").replace(":", " ").split()
    return instruction.steps[0].target.split()[0] in words


def _evaluate_pair(
    imaginer: Imaginer, env_id: str, seed: int, pair: tuple[Instruction, Instruction]
) -> InstructionPair:
    frame, outcomes = _first_outcomes(env_id, seed)
    moved = []
    for instruction in pair:
        try:
            with closing(imaginer.imagine_stream(frame, instruction.task, seed=seed)) as steps:
                moved.append(nearest_outcome(frame, next(steps).clip[-1], outcomes) or "nothing")
        except KSGenError as exc:
            moved.append(type(exc).__name__)
    wanted = (pair[0].steps[0].target, pair[1].steps[0].target)
    return InstructionPair(env_id, seed, wanted, (moved[0], moved[1]))


def _first_outcomes(env_id: str, seed: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]:
    """The camera frame, and how it looks after the first step of each of the scene's instructions, by its target."""
    import mujoco

    from ksgen_envs.offscreen import Pictures
    from ksgen_envs.workbench import Workbench, set_goal

    bench = Workbench(env_id, seed)
    first = {instruction.steps[0].target: instruction.steps[0] for instruction in bench.instructions()}
    model, data = bench.start()
    with closing(Pictures(model, bench.camera_name, bench.image_size)) as pictures:
        bench.apply_effects(model, data)
        frame, start, outcomes = pictures.take(data), data.qpos.copy(), {}
        for target, step in first.items():
            set_goal(model, data, step)
            bench.apply_effects(model, data)
            outcomes[target] = pictures.take(data)
            data.qpos[:] = start
            mujoco.mj_forward(model, data)
    return frame, outcomes


def check_seeds(seeds: range, final_evaluation: bool) -> None:
    """Raise `InvalidInput` where a seed is reserved for the final evaluation and that was not asked for."""
    if not final_evaluation and len(seeds) and max(seeds) >= EVALUATION_SEEDS:
        raise InvalidInput(
            f"seed {max(seeds)} is reserved for the final evaluation (seeds of {EVALUATION_SEEDS:,} and more); "
            "use development seeds from 1,000,000 on"
        )
