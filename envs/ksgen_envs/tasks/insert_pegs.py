"""Put coloured pegs into the holes with rims of their colours."""

from __future__ import annotations

import colorsys

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import Area, Keep, require_seen, scatter
from ksgen_envs.props.base import CLEARANCE, make_pose
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.peg_board import HALF_DEPTH, PegBoard
from ksgen_envs.props.solids import Peg
from ksgen_envs.tasks.scene import Scene, default_first, place
from ksgen_envs.view import View
from ksgen_envs.wordings import listed, step_wording, task_wording

_AREA = Area(-0.18, 0.18, -0.16, 0.04)
_HOLES = 3


def build(rng: np.random.Generator, view: View) -> Scene:
    """A board with three holes far from the person, two or three pegs standing before it.

    Raises:
        NoRoom: they do not fit; sample again.
    """
    colours = pick_colours(rng, _HOLES)
    value = float(rng.uniform(0.6, 0.9))
    wood = (*colorsys.hsv_to_rgb(float(rng.uniform(0.08, 0.12)), float(rng.uniform(0.2, 0.45)), value), 1.0)
    pose = make_pose(
        float(rng.uniform(-0.07, 0.07)), float(rng.uniform(0.075, 0.105)), 0.0, float(rng.uniform(-0.12, 0.12))
    )
    board = PegBoard("peg board", pose, wood, colours)
    holes = [int(hole) for hole in rng.permutation(_HOLES)[: 3 if rng.random() < 0.6 else 2]]
    size, height = float(rng.uniform(0.022, 0.0245)), float(rng.uniform(0.062, 0.075))
    pegs = [
        Peg(f"{colours[hole].name} peg", make_pose(0, 0, height / 2 + CLEARANCE), colours[hole], size, height)
        for hole in holes
    ]
    keep = Keep(pose[0], pose[1], board.half_width + 0.012, HALF_DEPTH + 0.015)
    places = scatter(rng, [size / 2] * len(pegs), [height + size / 2] * len(pegs), _AREA, view, [keep])
    pegs = [peg.moved_to(x, y) for peg, (x, y) in zip(pegs, places, strict=True)]
    require_seen(view, board.corners())

    def steps(order: list[int]) -> tuple[StepGoal, ...]:
        made = []
        for index in order:
            peg, hole = pegs[index], holes[index]
            goal = board.goal_for(peg, hole)
            words = step_wording(rng, "into_hole", a=peg.name, b=f"{colours[hole].name} hole")
            made.append(place(peg, goal, words, support=board, offset=goal[:3] - board.pose[:3]))
        return tuple(made)

    def said(kind: str, order: list[int]) -> str:
        return task_wording(rng, kind, names=listed([f"the {pegs[index].name}" for index in order], ", then "))

    left_first = sorted(range(len(pegs)), key=lambda index: holes[index])
    instructions = [Instruction(task_wording(rng, "pegs"), steps(left_first), explicit=False)]
    for _ in range(3):
        order = [int(index) for index in rng.permutation(len(pegs))]
        instructions.append(Instruction(said("pegs_order", order), steps(order)))
    instructions += [Instruction(said("pegs_one", [index]), steps([index])) for index in range(len(pegs))]
    return Scene((board, *pegs), default_first(instructions, int(rng.random() < 0.5)))
