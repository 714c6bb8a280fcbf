"""Switch on a lamp: turn its knob, press its button."""

from __future__ import annotations

import colorsys

import numpy as np

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import Area, Keep, require_seen, scatter
from ksgen_envs.props.base import make_pose
from ksgen_envs.props.colours import pick_colours
from ksgen_envs.props.lamp import HALF_DEPTH, HALF_WIDTH, Lamp
from ksgen_envs.props.solids import sample_solid
from ksgen_envs.tasks.scene import Scene, default_first
from ksgen_envs.view import View
from ksgen_envs.wordings import step_wording, task_wording

_AREA = Area(-0.19, 0.19, -0.10, 0.12)


def build(rng: np.random.Generator, view: View) -> Scene:
    """A lamp somewhere in the middle, and up to two things beside it that have no part in it.

    Raises:
        NoRoom: they do not fit; sample again.
    """
    others = int(rng.integers(0, 3))
    colours = pick_colours(rng, 1 + others)
    hue, saturation = float(rng.uniform(0, 1)), float(rng.uniform(0.0, 0.25))
    case = (*colorsys.hsv_to_rgb(hue, saturation, float(rng.uniform(0.35, 0.85))), 1.0)
    grey = float(rng.choice([0.12, 0.22]))
    pose = make_pose(
        float(rng.uniform(-0.10, 0.10)), float(rng.uniform(-0.03, 0.06)), 0.0, float(rng.uniform(-0.15, 0.15))
    )
    lamp = Lamp("lamp", pose, case, (grey, grey, grey, 1.0), colours[0], bool(rng.random() < 0.5))
    solids = [sample_solid(rng, str(rng.choice(["block", "ball", "cylinder"])), colour) for colour in colours[1:]]
    keep = Keep(pose[0], pose[1], HALF_WIDTH + 0.02, HALF_DEPTH + 0.02)
    # Nothing stands between the person and the lamp, where the hand comes in.
    path = Keep(pose[0], pose[1] - 0.12, HALF_WIDTH, 0.10)
    places = scatter(
        rng, [solid.radius for solid in solids], [2 * solid.rest_height for solid in solids], _AREA, view, [keep, path]
    )
    solids = [solid.moved_to(x, y) for solid, (x, y) in zip(solids, places, strict=True)]
    require_seen(view, lamp.corners())
    turn = StepGoal(
        "turn", step_wording(rng, "turn_knob"), "knob", lamp.knob, lamp.knob_joint, lamp.knob_grasp, lamp.knob_goal
    )
    press = StepGoal(
        "press",
        step_wording(rng, "press_button", b=colours[0].name),
        "button",
        lamp.button,
        lamp.button_joint,
        lamp.button_grasp,
        lamp.button_goal,
    )
    instructions = [
        Instruction(task_wording(rng, "lamp"), (turn, press), explicit=False),
        Instruction(task_wording(rng, "lamp_button_first"), (press, turn)),
    ]
    return Scene((lamp, *solids), default_first(instructions, int(rng.random() < 0.35)))
