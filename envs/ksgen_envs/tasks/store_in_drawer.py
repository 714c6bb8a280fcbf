"""Store an object in the drawer: open it, put the object in, close it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import Area, Keep, require_seen, scatter
from ksgen_envs.props.base import Loose, Rgba, make_pose
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.drawer import HALF_DEPTH, HALF_WIDTH, KNOB_LENGTH, OPEN, Cabinet
from ksgen_envs.props.solids import sample_solid
from ksgen_envs.tasks.scene import Scene, place
from ksgen_envs.view import View
from ksgen_envs.wordings import listed, step_wording, task_wording

_AREA = Area(-0.19, 0.19, -0.16, 0.12)
_KINDS = ("block", "ball", "cylinder")


def build(rng: np.random.Generator, view: View) -> Scene:
    """The cabinet far from the person, two or three objects round it, none in the way of the drawer.

    Raises:
        NoRoom: they do not fit; sample again.
    """
    count = int(rng.integers(2, 4))
    colours = pick_colours(rng, count + 1)
    yaw = float(rng.uniform(-0.12, 0.12))
    x, y = float(rng.uniform(-0.09, 0.09)), float(rng.uniform(0.080, 0.115))
    cabinet = Cabinet("cabinet", make_pose(x, y, 0.0, yaw), colours[-1], *_fronts(rng))
    solids = [
        sample_solid(rng, str(kind), colour)
        for kind, colour in zip(rng.choice(_KINDS, count), colours[:-1], strict=True)
    ]
    swept = OPEN + KNOB_LENGTH + 0.012
    keep = Keep(x, y - swept / 2, HALF_WIDTH + 0.012, HALF_DEPTH + swept / 2)
    places = scatter(
        rng, [solid.radius for solid in solids], [2 * solid.rest_height for solid in solids], _AREA, view, [keep]
    )
    solids = [solid.moved_to(px, py) for solid, (px, py) in zip(solids, places, strict=True)]
    require_seen(view, cabinet.corners())
    # Each object can be asked for; the one that the default instruction names is random, as their places are.
    orders = [[solid] for solid in solids]
    if rng.random() < 0.3:
        orders[0] = solids[:2]
    return Scene((cabinet, *solids), tuple(_instruction(rng, cabinet, order) for order in orders))


def _instruction(rng: np.random.Generator, cabinet: Cabinet, stored: Sequence[Loose]) -> Instruction:
    names = listed([f"the {solid.name}" for solid in stored])

    def slide(verb: str, words: str, goal: float, carried: tuple[str, ...] = ()) -> StepGoal:
        return StepGoal(
            verb="pull" if verb == "pull" else "push",
            description=words,
            target="drawer",
            body=cabinet.drawer,
            joint=cabinet.joint,
            grasp=cabinet.grasp,
            goal=np.array([goal]),
            carried=carried,
        )

    puts = [
        place(
            solid,
            cabinet.goal_for(solid, index, len(stored)),
            step_wording(rng, "into_drawer", a=solid.name),
            support=cabinet,
            offset=None,
        )
        for index, solid in enumerate(stored)
    ]
    steps = (
        slide("pull", step_wording(rng, "open_drawer"), OPEN),
        *puts,
        slide("push", step_wording(rng, "close_drawer"), 0.0, tuple(solid.joint for solid in stored)),
    )
    return Instruction(task_wording(rng, "store", names=names), steps)


def _fronts(rng: np.random.Generator) -> tuple[Rgba, Rgba]:
    """RGBA of the drawer's front and of its knob."""
    value = float(rng.uniform(0.55, 0.92))
    front = (*colorsys.hsv_to_rgb(float(rng.uniform(0.07, 0.13)), float(rng.uniform(0.05, 0.4)), value), 1.0)
    knob = (0.10, 0.10, 0.11, 1.0) if rng.random() < 0.5 else (0.93, 0.93, 0.90, 1.0)
    return front, knob
