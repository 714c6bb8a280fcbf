"""What was understood of a step: where the gripper has to take hold and let go, and what a robot knew before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ksgen_envs.executors.contact import Contact, Rest
from ksgen_envs.executors.sight import Array


@dataclass(frozen=True)
class Heights:
    """Metres above the table at which things are, as one measures once at a work place.

    Attributes:
        handle: of what is pulled or pushed.
        knob: of what is turned, where one holds it.
        button: of the top of what is pressed.
        grip: where a thing is held of which nothing else is known.
        socket: of the floor of the holes and slots that things are fitted into.
        container: of the floor of what things are put into.
    """

    handle: float = 0.036
    knob: float = 0.045
    button: float = 0.044
    grip: float = 0.025
    socket: float = 0.006
    container: float = 0.007


@dataclass(frozen=True)
class Reading:
    """What the gripper has to do.

    Attributes:
        contact: the kind.
        frames: of the clip, in which the hand takes hold and lets go.
        grasp, release: (3,) metres in the world, between the pads.
        yaws: radians at grasp and release, from pad to pad; the second may lie beyond a half turn, so that the way from
            the first to it is the way to turn.
        width: metres of what is between the pads; 0 when pressing.
        top: metres, the highest point of what is carried above the point between the pads.
        evidence: ``"picture"`` where the places come from what changes in the picture, ``"hand"`` where from the hand.
        mismatch: in [0, 1], how badly the picture's explanation fits; NaN without one.
        rest: how what is carried comes to rest.
        pushes: whether what slides is pushed, from behind.
        slender: whether it is much longer than wide, seen from above, so that its yaw has to fit where it goes.
    """

    contact: Contact
    frames: tuple[int, int]
    grasp: Array
    release: Array
    yaws: tuple[float, float]
    width: float
    top: float
    evidence: Literal["picture", "hand"]
    mismatch: float = float("nan")
    rest: Rest = "on"
    slender: bool = False
    pushes: bool = False
