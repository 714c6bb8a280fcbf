"""Stack three or four blocks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import Area, require_seen, scatter
from ksgen_envs.props.base import CLEARANCE, box_corners, make_pose
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.solids import Block
from ksgen_envs.tasks.scene import Scene, default_first, place
from ksgen_envs.view import View
from ksgen_envs.wordings import listed, step_wording, task_wording

_AREA = Area(-0.18, 0.18, -0.15, 0.12)
_FOUR_SHARE = 0.25


def build(rng: np.random.Generator, view: View) -> Scene:
    """Blocks of distinct colours and sizes anywhere on the table.

    Raises:
        NoRoom: they do not fit; sample again.
    """
    count = 4 if rng.random() < _FOUR_SHARE else 3
    # Sizes differ by 3 mm or more, so that the largest can be told.
    smallest = 0.034 if count == 4 else 0.036
    sizes = rng.permutation(smallest + 0.0045 * np.arange(count) + rng.uniform(0, 0.0015, count))
    places = scatter(rng, list(sizes / np.sqrt(2)), list(sizes), _AREA, view)
    blocks = [
        Block(
            f"{colour.name} block", make_pose(x, y, size / 2 + CLEARANCE, rng.uniform(-0.3, 0.3)), colour, float(size)
        )
        for colour, size, (x, y) in zip(pick_colours(rng, count), sizes, places, strict=True)
    ]
    by_size = sorted(blocks, key=lambda block: -block.size)
    general = Instruction(task_wording(rng, "stack_blocks"), _steps(rng, by_size), explicit=False)
    orders = [_order_moving(rng, blocks, index) for index in rng.permutation(count)]
    explicit = [Instruction(_said(rng, order), _steps(rng, order)) for order in orders]
    instructions = default_first([general, *explicit], int(rng.random() < 0.55))
    # A tower may stand on any block of the instructions: all of them must fit into the picture.
    total = float(sizes.sum())
    for instruction in instructions:
        bottom = instruction.steps[0].support
        x, y = next(block.pose[:2] for block in blocks if block.body == bottom)
        require_seen(view, box_corners((x, y, 0.0), (0.03, 0.03), total))
    return Scene(tuple(blocks), instructions)


def _order_moving(rng: np.random.Generator, blocks: list[Block], moved: int) -> list[Block]:
    """A random order, from the bottom up, of which ``moved`` is the first block to be moved."""
    others = [blocks[i] for i in rng.permutation(len(blocks)) if i != moved]
    return [others[0], blocks[moved], *others[1:]]


def _steps(rng: np.random.Generator, order: list[Block]) -> tuple[StepGoal, ...]:
    """Steps that stack the blocks, the first at the bottom."""
    below, steps = order[0], []
    pose = below.pose
    for block in order[1:]:
        goal = block.standing_at(pose[0], pose[1], pose[2] + below.size / 2)
        words = step_wording(rng, "stack", a=block.name, b=below.name)
        steps.append(place(block, goal, words, support=below, offset=goal[:3] - pose[:3]))
        below, pose = block, goal
    return tuple(steps)


def _said(rng: np.random.Generator, order: list[Block]) -> str:
    """An instruction that names the order."""
    names = [block.colour.name for block in order]
    pairs = ", then ".join(f"{above} on {below}" for below, above in pairwise(names))
    full = ", then ".join(f"the {above} block on the {below} block" for below, above in pairwise(names))
    return task_wording(
        rng,
        "stack_order",
        pairs=pairs,
        full_pairs=full,
        sequence=f"{names[0]} at the bottom, then {listed(names[1:], ', then ')}",
    )
