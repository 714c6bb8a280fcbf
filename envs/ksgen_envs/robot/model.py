"""The robot's MJCF: one body on three slides and a hinge, and two fingers that close on each other.

Its frame's origin is the tool point, half-way between the finger pads and `TIP` above the fingertips; the slides' zero
is the world's origin, so that their positions are the tool point's. Gravity is compensated, as robot arms do. The
rails are not drawn. Robots' actuators take velocities that MuJoCo integrates to set points (``intvelocity``), which
makes every motion a ramp; the fingers take a place.
"""

from __future__ import annotations

from typing import Any

import mujoco

TIP = 0.008
"""Metres from the tool point down to the fingertips."""
FINGER_HEIGHT = 0.145
"""Metres, so that the palm passes over everything on the table but the tallest towers."""
FINGER_THICK, FINGER_HALF_WIDTH = 0.008, 0.005
MAX_APERTURE = 0.084
"""Metres between the pads of the open gripper."""
WORKSPACE = ((-0.32, 0.32), (-0.50, 0.22), (TIP, 0.36))
"""Metres: least and greatest x, y and z of the tool point."""
HOME = (0.0, -0.48, 0.08)
"""Metres: where the tool point is at the start, out of the robot's camera's sight."""
MAX_YAW = 3.6
"""Radians to either side; more than half a turn, so that every grasp can be turned on by a quarter."""

MAX_SPEED, MAX_YAW_SPEED = 0.5, 2.5
"""Metres and radians a second."""
MAX_FORCE, MAX_TORQUE, GRIP_FORCE = 30.0, 2.0, 8.0
"""Newtons of a slide, newton metres of the wrist, newtons of the fingers."""

BODY, FINGERS = "gripper", ("left_finger", "right_finger")
JOINTS = ("gripper_x", "gripper_y", "gripper_z", "gripper_yaw")
FINGER_JOINTS = ("left_finger_slide", "right_finger_slide")
ACTUATORS = (*JOINTS, "gripper_fingers")

STIFF, DAMP = 3000.0, 85.0
"""Newtons a metre and newton seconds a metre of a slide; about critically damped with the masses below."""
_YAW_STIFF, _YAW_DAMP = 20.0, 0.35
_GRIP_STIFF, _GRIP_DAMP = 1600.0, 30.0
# Short enough that at home not even its shadow is in the picture.
_COLUMN = 0.16
_DARK, _LIGHT, _RUBBER = (0.16, 0.17, 0.19, 1.0), (0.80, 0.81, 0.83, 1.0), (0.10, 0.10, 0.10, 1.0)


def add_robot(spec: Any) -> None:
    """Add the robot and its five actuators to an ``mujoco.MjSpec``, at the slides' zero."""
    palm = spec.worldbody.add_body(name=BODY, gravcomp=1.0)
    palm.mass, palm.inertia, palm.ipos = 0.5, (6e-4, 6e-4, 6e-4), (0, 0, FINGER_HEIGHT)
    palm.explicitinertial = True
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    for name, axis, span in zip(JOINTS[:3], ((1, 0, 0), (0, 1, 0), (0, 0, 1)), WORKSPACE, strict=True):
        _add_joint(palm, name, slide, axis, span)
    _add_joint(palm, JOINTS[3], hinge, (0, 0, 1), (-MAX_YAW, MAX_YAW))
    _add_palm(palm)
    for name, joint, side in zip(FINGERS, FINGER_JOINTS, (1, -1), strict=True):
        _add_finger(palm, name, joint, side)
    spec.add_exclude(bodyname1=FINGERS[0], bodyname2=FINGERS[1])
    # One motor drives both fingers through a gear: they mirror each other.
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=FINGER_JOINTS[0],
        name2=FINGER_JOINTS[1],
        data=[0, 1, *[0] * 10],
        solref=(0.01, 1.0),
    )
    tendon = spec.add_tendon(name="fingers")
    for joint in FINGER_JOINTS:
        tendon.wrap_joint(joint, 0.5)
    _add_actuators(spec)


def _add_joint(body: Any, name: str, kind: Any, axis: tuple[int, int, int], span: tuple[float, float]) -> None:
    body.add_joint(
        name=name, type=kind, axis=axis, range=_degrees(kind, span), limited=mujoco.mjtLimited.mjLIMITED_TRUE
    )


def _degrees(kind: Any, span: tuple[float, float]) -> tuple[float, float]:
    # MjSpec reads angles in degrees.
    scale = 57.29577951308232 if kind == mujoco.mjtJoint.mjJNT_HINGE else 1.0
    return (span[0] * scale, span[1] * scale)


def _add_palm(palm: Any) -> None:
    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    base = FINGER_HEIGHT - TIP
    half = MAX_APERTURE / 2 + FINGER_THICK + 0.002
    palm.add_geom(type=box, size=(half, 0.016, 0.014), pos=(0, 0, base + 0.014), rgba=_DARK)
    shown = {"contype": 0, "conaffinity": 0}
    palm.add_geom(type=cylinder, size=(0.022, 0.020, 0), pos=(0, 0, base + 0.048), rgba=_LIGHT, **shown)
    palm.add_geom(
        type=cylinder, size=(0.013, _COLUMN / 2, 0), pos=(0, 0, base + 0.068 + _COLUMN / 2), rgba=_DARK, **shown
    )


def _add_finger(palm: Any, name: str, joint: str, side: int) -> None:
    """A finger whose inner face is at x = side × the joint's position."""
    box = mujoco.mjtGeom.mjGEOM_BOX
    finger = palm.add_body(name=name, gravcomp=1.0)
    finger.mass, finger.inertia, finger.ipos = 0.03, (5e-5, 5e-5, 3e-6), (side * FINGER_THICK / 2, 0, 0.06)
    finger.explicitinertial = True
    finger.add_joint(
        name=joint,
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=(side, 0, 0),
        range=(0.0, MAX_APERTURE / 2),
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        damping=1.0,
    )
    finger.add_geom(
        type=box,
        size=(FINGER_THICK / 2, FINGER_HALF_WIDTH, FINGER_HEIGHT / 2),
        pos=(side * FINGER_THICK / 2, 0, FINGER_HEIGHT / 2 - TIP),
        rgba=_LIGHT,
        # Rubber: what it touches does not slip, turn or roll in it. Its word counts for both.
        priority=1,
        condim=6,
        friction=(1.6, 0.02, 0.002),
        solref=(0.012, 1.0),
    )
    finger.add_geom(
        type=box,
        size=(0.0006, FINGER_HALF_WIDTH - 0.0005, 0.012),
        pos=(side * 0.0002, 0, 0.012 - TIP),
        rgba=_RUBBER,
        contype=0,
        conaffinity=0,
    )


def _add_actuators(spec: Any) -> None:
    servo = {"gaintype": mujoco.mjtGain.mjGAIN_FIXED, "biastype": mujoco.mjtBias.mjBIAS_AFFINE}
    limited = mujoco.mjtLimited.mjLIMITED_TRUE
    places = (*WORKSPACE, (-MAX_YAW, MAX_YAW))
    for name, span in zip(JOINTS, places, strict=True):
        turns = name == JOINTS[3]
        stiff, damp = (_YAW_STIFF, _YAW_DAMP) if turns else (STIFF, DAMP)
        speed, force = (MAX_YAW_SPEED, MAX_TORQUE) if turns else (MAX_SPEED, MAX_FORCE)
        spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            dyntype=mujoco.mjtDyn.mjDYN_INTEGRATOR,
            gainprm=[stiff, *[0] * 9],
            biasprm=[0, -stiff, -damp, *[0] * 7],
            ctrllimited=limited,
            ctrlrange=(-speed, speed),
            actlimited=limited,
            actrange=span,
            forcelimited=limited,
            forcerange=(-force, force),
            **servo,
        )
    spec.add_actuator(
        name=ACTUATORS[4],
        target="fingers",
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        # The tendon is the mean of both fingers; each of them feels half of its force.
        gainprm=[2 * _GRIP_STIFF, *[0] * 9],
        biasprm=[0, -2 * _GRIP_STIFF, -2 * _GRIP_DAMP, *[0] * 7],
        ctrllimited=limited,
        ctrlrange=(0.0, MAX_APERTURE / 2),
        forcelimited=limited,
        forcerange=(-2 * GRIP_FORCE, 2 * GRIP_FORCE),
        **servo,
    )
