"""A lamp with a knob and a button; its bulb shines when both are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Grasp
from ksgen_envs.props.base import (
    Prop,
    Rgba,
    add_body,
    add_box,
    add_cylinder,
    add_joint_sensor,
    add_material,
    add_sphere,
    forbid_contact,
    pinch,
    turned_box,
)
from ksgen_envs.props.colours import Colour

HALF_WIDTH, HALF_DEPTH, HEIGHT = 0.072, 0.046, 0.032
KNOB_RADIUS, KNOB_HEIGHT = 0.018, 0.022
TURN = np.deg2rad(80.0)
"""How far the knob turns to the right (clockwise from above)."""
BUTTON_RADIUS, BUTTON_HEIGHT = 0.014, 0.012
PRESS = 0.007
"""How far the button goes down, metres."""
STEM_HEIGHT, BULB_RADIUS = 0.085, 0.025
_START = np.pi / 2 + TURN / 2
_GLASS: Rgba = (0.52, 0.54, 0.56, 1.0)
_GLOW: Rgba = (1.0, 0.84, 0.30, 1.0)


@dataclass(frozen=True)
class Lamp(Prop):
    """A lamp, fixed to the table; its pose is the middle of its underside.

    Attributes:
        case: RGBA of the box.
        knob_colour: RGBA of the knob.
        button_colour: of the button.
        knob_left: whether the knob is to the left of the button.
    """

    case: Rgba
    knob_colour: Rgba
    button_colour: Colour
    knob_left: bool

    knob = "knob"
    button = "button"
    knob_joint = "knob_hinge"
    button_joint = "button_slide"
    knob_sensor = "knob_angle"
    button_sensor = "button_depth"

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The lamp, its knob and its button."""
        return ((self.name, self.body), ("knob", self.knob), ("button", self.button))

    @property
    def knob_grasp(self) -> Grasp:
        """Across the knob; the pinch passes through left-right half-way through the turn."""
        axis = (np.cos(TURN / 2), np.sin(TURN / 2), 0.0)
        return pinch((0, 0, KNOB_HEIGHT * 0.6), axis, 2 * KNOB_RADIUS)

    @property
    def button_grasp(self) -> Grasp:
        """The top of the button, downward."""
        return pinch((0, 0, BUTTON_HEIGHT), (0, 0, -1), 0.0)

    @property
    def knob_goal(self) -> NDArray[np.float64]:
        """(1,) radians: turned to the right."""
        return np.array([-TURN])

    @property
    def button_goal(self) -> NDArray[np.float64]:
        """(1,) metres: pressed down."""
        return np.array([PRESS])

    def corners(self) -> NDArray[np.float64]:
        """(8, 3)."""
        return turned_box(self.pose, (HALF_WIDTH, HALF_DEPTH), 0.0, HEIGHT + STEM_HEIGHT + 2 * BULB_RADIUS)

    def build(self, spec: Any) -> None:
        """The box with knob, button, stem and bulb, and the sensors of knob and button."""
        lamp = add_body(spec, self.body, self.pose, free=False)
        add_box(lamp, (HALF_WIDTH, HALF_DEPTH, HEIGHT / 2), (0, 0, HEIGHT / 2), self.case)
        side = -0.036 if self.knob_left else 0.036
        self._build_knob(lamp, side)
        self._build_button(lamp, -side)
        self._build_bulb(spec, lamp)
        forbid_contact(spec, self.body, self.knob)
        forbid_contact(spec, self.body, self.button)
        add_joint_sensor(spec, self.knob_sensor, self.knob_joint)
        add_joint_sensor(spec, self.button_sensor, self.button_joint)

    def _build_knob(self, lamp: Any, x: float) -> None:
        y = -0.012
        knob = lamp.add_body(name=self.knob, pos=(x, y, HEIGHT))
        knob.add_joint(
            name=self.knob_joint,
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=(0, 0, 1),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=np.rad2deg((-TURN - 0.05, 0.05)),
            damping=0.002,
            frictionloss=0.004,
        )
        half = KNOB_HEIGHT / 2
        add_cylinder(knob, KNOB_RADIUS, half, (0, 0, half + 0.0005), self.knob_colour)
        # The pointer lies on the top and shows past the edge, so that it is seen beside the fingers.
        cos, sin = np.cos(_START), np.sin(_START)
        reach = KNOB_RADIUS + 0.004
        white: Rgba = (0.97, 0.97, 0.95, 1.0)
        turn = (np.cos(_START / 2), 0.0, 0.0, np.sin(_START / 2))
        top = KNOB_HEIGHT + 0.0015
        add_box(
            knob,
            (reach / 2, 0.0026, 0.0016),
            (cos * reach / 2, sin * reach / 2, top),
            white,
            quat=turn,
            visual_only=True,
        )
        for angle, rgba in ((_START, (0.35, 0.35, 0.35, 1.0)), (_START - TURN, (0.95, 0.80, 0.25, 1.0))):
            spot = (x + 0.0265 * np.cos(angle), y + 0.0265 * np.sin(angle), HEIGHT)
            add_cylinder(lamp, 0.0035, 0.0008, spot, rgba, visual_only=True)

    def _build_button(self, lamp: Any, x: float) -> None:
        y = -0.012
        add_cylinder(lamp, BUTTON_RADIUS + 0.005, 0.001, (x, y, HEIGHT), (0.12, 0.12, 0.13, 1.0), visual_only=True)
        # Its weight is borne by the switch below it, or the soft friction of the slide would let it creep down.
        button = lamp.add_body(name=self.button, pos=(x, y, HEIGHT), gravcomp=1.0)
        button.add_joint(
            name=self.button_joint,
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, 0, -1),
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            range=(0.0, PRESS + 0.001),
            damping=0.5,
            # Stays where it is pressed to, like a latching switch.
            frictionloss=0.4,
        )
        half = BUTTON_HEIGHT / 2
        add_cylinder(button, BUTTON_RADIUS, half, (0, 0, half), self.button_colour.rgba)

    def _build_bulb(self, spec: Any, lamp: Any) -> None:
        y = HALF_DEPTH - 0.016
        grey: Rgba = (0.45, 0.45, 0.47, 1.0)
        add_cylinder(lamp, 0.006, STEM_HEIGHT / 2, (0, y, HEIGHT + STEM_HEIGHT / 2), grey)
        middle = HEIGHT + STEM_HEIGHT + BULB_RADIUS * 0.85
        add_cylinder(lamp, 0.013, 0.008, (0, y, middle - BULB_RADIUS), grey)
        add_material(spec, "bulb", _GLASS, shine=0.6)
        add_sphere(lamp, BULB_RADIUS, (0, y, middle), _GLASS, material="bulb", name="bulb")
        lamp.add_light(
            name="bulb",
            pos=(0, y, middle + BULB_RADIUS + 0.01),
            type=mujoco.mjtLightType.mjLIGHT_POINT,
            diffuse=(0.60, 0.48, 0.20),
            ambient=(0.0, 0.0, 0.0),
            specular=(0.0, 0.0, 0.0),
            attenuation=(1.0, 0.0, 12.0),
            castshadow=False,
            active=False,
        )

    def brightness(self, data: Any) -> float:
        """0 when off, 0.35 when knob or button is set, 1 when both are; from the sensors."""
        turned = data.sensor(self.knob_sensor).data[0] < -0.75 * TURN
        pressed = data.sensor(self.button_sensor).data[0] > 0.7 * PRESS
        return (0.0, 0.35, 1.0)[int(turned) + int(pressed)]

    def apply_effects(self, model: Any, data: Any) -> None:
        """Let the bulb shine as knob and button say."""
        level = self.brightness(data)
        colour = (1 - level) * np.array(_GLASS) + level * np.array(_GLOW)
        model.geom("bulb").rgba[:] = colour
        model.mat("bulb").rgba[:] = colour
        model.mat("bulb").emission[:] = 0.75 * level
        model.light("bulb").active[:] = level >= 1.0
