"""Does the instruction decide which object moves? One scene, two instructions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.datasets import check_seeds
from ksgen_models.errors import KSGenError
from ksgen_models.metrics import nearest_outcome

if TYPE_CHECKING:
    from ksgen_agent import Imaginer
    from ksgen_envs.goals import Instruction


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
