"""Sort coloured objects into the two bins of their colours."""

from __future__ import annotations

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import Area, Keep, require_seen, scatter
from ksgen_envs.props.base import Pose, make_pose
from ksgen_envs.props.bin import Bin
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.solids import sample_solid
from ksgen_envs.tasks.scene import Scene, default_first, place
from ksgen_envs.view import View
from ksgen_envs.wordings import listed, step_wording, task_wording

_AREA = Area(-0.18, 0.18, -0.16, 0.05)
_KINDS = ("block", "ball", "cylinder")


def build(rng: np.random.Generator, view: View) -> Scene:
    """A bin at the far left and one at the far right, three or four objects before them.

    Raises:
        NoRoom: they do not fit; sample again.
    """
    colours = pick_colours(rng, 2, without="black")
    half = (0.066, float(rng.uniform(0.044, 0.050)))
    bins = [
        Bin(
            f"{colour.name} bin",
            make_pose(
                side * (0.118 + rng.uniform(0, 0.015)), 0.105 + rng.uniform(-0.015, 0.015), 0.0, rng.uniform(-0.1, 0.1)
            ),
            colour,
            half,
        )
        for colour, side in zip(colours, (-1, 1), strict=True)
    ]
    owners = [0, 1, *rng.permutation(2)[: 2 if rng.random() < 0.4 else 1]]
    kinds = [str(kind) for owner in (0, 1) for kind in rng.choice(_KINDS, owners.count(owner), replace=False)]
    owners = sorted(int(owner) for owner in owners)
    solids = [sample_solid(rng, kind, colours[owner]) for kind, owner in zip(kinds, owners, strict=True)]
    keep = [Keep(box.pose[0], box.pose[1], half[0] + 0.005, half[1] + 0.005) for box in bins]
    places = scatter(
        rng, [solid.radius for solid in solids], [2 * solid.rest_height for solid in solids], _AREA, view, keep
    )
    solids = [solid.moved_to(x, y) for solid, (x, y) in zip(solids, places, strict=True)]
    require_seen(view, *(box.corners() for box in bins))
    goals: dict[str, Pose] = {}
    for owner, box in enumerate(bins):
        # What stands farther left lies farther left: which of two goes where can be seen before anything is moved.
        theirs = [solid for solid, one in zip(solids, owners, strict=True) if one == owner]
        for place_in_box, solid in enumerate(sorted(theirs, key=lambda one: one.pose[0])):
            goals[solid.name] = box.goal_for(solid, place_in_box, len(theirs))

    def step(index: int) -> StepGoal:
        solid, box = solids[index], bins[owners[index]]
        words = step_wording(rng, "into_bin", a=solid.name, b=box.name)
        return place(solid, goals[solid.name], words, support=box, offset=None)

    def steps(order: list[int]) -> tuple[StepGoal, ...]:
        return tuple(step(index) for index in order)

    def said(kind: str, order: list[int]) -> str:
        names = [f"the {solids[index].name}" for index in order]
        pairs = [f"{name} into the {bins[owners[index]].name}" for name, index in zip(names, order, strict=True)]
        return task_wording(rng, kind, names=listed(names), pairs=listed(pairs, ", then "))

    nearest_first = sorted(range(len(solids)), key=lambda index: solids[index].pose[1])
    instructions = [Instruction(task_wording(rng, "sort"), steps(nearest_first), explicit=False)]
    for _ in range(3):
        order = [int(i) for i in rng.permutation(len(solids))[: int(rng.integers(2, len(solids) + 1))]]
        instructions.append(Instruction(said("sort_order", order), steps(order)))
    instructions += [Instruction(said("sort_one", [index]), steps([index])) for index in range(len(solids))]
    return Scene((*bins, *solids), default_first(instructions, int(rng.random() < 0.5)))
