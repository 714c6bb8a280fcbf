"""Assemble a shelf: left upright, right upright, lower board, upper board."""

from __future__ import annotations

import colorsys

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import require_seen
from ksgen_envs.props.base import CLEARANCE, Rgba, make_pose
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.shelf import BOARD_THICK, UPRIGHT_HEIGHT, Board, ShelfBase, Upright
from ksgen_envs.tasks.scene import Scene, default_first, place
from ksgen_envs.view import View
from ksgen_envs.wordings import step_wording, task_wording


def build(rng: np.random.Generator, view: View) -> Scene:
    """The base far from the person, an upright at each side of it, the boards before it.

    Raises:
        NoRoom: something is outside the picture; sample again.
    """
    base_rgba, upright_rgba, lower_rgba, upper_rgba = _paints(rng)
    depth = float(rng.uniform(0.050, 0.060))
    jitter = lambda size: float(rng.uniform(-size, size))  # noqa: E731
    base_x, base_y = jitter(0.012), 0.085 + jitter(0.015)
    base = ShelfBase("base", make_pose(base_x, base_y, 0.0, jitter(0.08)), base_rgba)
    stand = UPRIGHT_HEIGHT / 2 + CLEARANCE
    left, right = (
        Upright(
            f"{name} upright",
            make_pose(
                base_x + side * (0.150 + float(rng.uniform(0, 0.012))),
                base_y - 0.045 + jitter(0.04),
                stand,
                jitter(0.12),
            ),
            upright_rgba,
            depth,
            right=side > 0,
        )
        for name, side in (("left", -1), ("right", 1))
    )
    rows = [-0.055 + jitter(0.008), -0.155 + jitter(0.008)]
    if rng.random() < 0.5:
        rows.reverse()
    lie = BOARD_THICK / 2 + CLEARANCE
    lower = Board("lower board", make_pose(jitter(0.035), rows[0], lie, jitter(0.12)), lower_rgba, depth, upper=False)
    upper = Board("upper board", make_pose(jitter(0.035), rows[1], lie, jitter(0.12)), upper_rgba, depth, upper=True)
    props = (base, left, right, lower, upper)
    require_seen(view, *(prop.corners() for prop in props))

    def steps(first: Upright, second: Upright) -> tuple[StepGoal, ...]:
        def put(prop: Upright | Board, kind: str) -> StepGoal:
            goal = base.upright_goal(prop) if isinstance(prop, Upright) else base.board_goal(prop)
            words = step_wording(rng, kind, a=prop.name)
            return place(prop, goal, words, support=base, offset=goal[:3] - base.pose[:3])

        return (
            put(first, "stand_upright"),
            put(second, "stand_upright"),
            put(lower, "lay_lower"),
            put(upper, "lay_upper"),
        )

    instructions = [
        Instruction(task_wording(rng, "shelf"), steps(left, right), explicit=False),
        Instruction(task_wording(rng, "shelf_right_first"), steps(right, left)),
    ]
    return Scene(props, default_first(instructions, int(rng.random() < 0.35)))


def _paints(rng: np.random.Generator) -> tuple[Rgba, Rgba, Rgba, Rgba]:
    """Base, uprights and boards: woods or paints that tell the parts apart."""

    def wood(value: float) -> Rgba:
        hue = 0.085 + rng.uniform(-0.015, 0.015)
        return (*colorsys.hsv_to_rgb(hue, rng.uniform(0.35, 0.55), value), 1.0)

    if rng.random() < 0.4:
        lower, upper = (colour.rgba for colour in pick_colours(rng, 2))
        return wood(0.55), wood(0.85), lower, upper
    base, uprights, lower, upper = (colour.rgba for colour in pick_colours(rng, 4, without="black"))
    return base, uprights, lower, upper
