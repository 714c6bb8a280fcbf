"""`HandRetargeter`: from a key step to waypoints of a parallel gripper."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ksgen_envs.executors.contact import contact_of, rest_of
from ksgen_envs.executors.hand_pose import HandPath, exact_hand, tracked_hand
from ksgen_envs.executors.reading import Heights, Reading
from ksgen_envs.executors.reading_carried import read_carry
from ksgen_envs.executors.reading_worked import read_press, read_slide, read_turn
from ksgen_envs.executors.scene_change import Picture
from ksgen_envs.executors.sight import Array, Sight
from ksgen_envs.executors.waypoints import Waypoints
from ksgen_envs.executors.workspace import Workspace
from ksgen_models.demonstration import Camera, Demonstration
from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep

_TURNS = 4  # waypoints a turn is cut into


@dataclass(frozen=True)
class Motion:
    """How the gripper goes about it, metres.

    Attributes:
        clearance: height above the table of what is carried, at which it goes across, over what stands there.
        approach: above the grasp, from where it goes straight down.
        opening: by how much wider than the thing the gripper opens on either side to take it.
        letting_go: the same to let it go, where other things may stand close by.
        squeeze: by how much narrower than the thing it closes.
        overshoot: by how much farther than the hand it slides a thing, whose rail ends somewhere.
        overturn: radians by which it turns farther than the hand.
        press: below a button's top.
        clear: mismatch up to which the height where a thing is to stand is clearly seen,
        seen: to so many metres.
        over: height above the table from which what is to stand on something is else lowered slowly until it touches.
        feel: above and below where what goes into something is to be, between which it is lowered slowly.
    """

    clearance: float = 0.12
    approach: float = 0.07
    opening: float = 0.014
    letting_go: float = 0.007
    squeeze: float = 0.006
    overshoot: float = 0.012
    overturn: float = 0.2
    press: float = 0.010
    clear: float = 0.42
    seen: float = 0.02
    over: float = 0.20
    feel: tuple[float, float] = (0.07, 0.06)


@dataclass(frozen=True)
class HandRetargeter:
    """Turns key steps into `Waypoints`.

    Attributes:
        camera: the camera that took the frame that was imagined from.
        size: (height, width) in pixels of the picture that the camera's intrinsics belong to; the key step's own
            pictures may have any other resolution.
        workspace: what the robot reaches.
        heights: of things that do not lie on the table.
        motion: how the gripper goes about it.
    """

    camera: Camera
    size: tuple[int, int] = (256, 256)
    workspace: Workspace = field(default_factory=Workspace)
    heights: Heights = field(default_factory=Heights)
    motion: Motion = field(default_factory=Motion)

    @property
    def sight(self) -> Sight:
        """The camera over normalised image coordinates."""
        return Sight(self.camera, self.size[1], self.size[0])

    def retarget(self, step: KeyStep) -> Waypoints:
        """Waypoints for an imagined key step, or for one made from a true clip and its hand track.

        Raises:
            NoHandFound: fewer than three frames show a hand.
            OutOfReach: the robot does not reach there, or does not open so far.
        """
        return self.waypoints(self.read(step), step.fps, len(step.clip))

    def retarget_demonstration(self, demonstration: Demonstration, index: int) -> Waypoints:
        """Waypoints for step ``index`` of a demonstration, from its exact keypoints and true pictures.

        Raises:
            InvalidInput: there is no such step.
            NoHandFound, OutOfReach: as `retarget`.
        """
        reading = self.read_demonstration(demonstration, index)
        return self.waypoints(reading, demonstration.fps, len(demonstration.steps[index].clip))

    def read(self, step: KeyStep) -> Reading:
        """What a key step has the gripper do, before it becomes a path."""
        return self._read(step.description, step.image, step.goal, tracked_hand(step.hands, self.sight))

    def read_demonstration(self, demonstration: Demonstration, index: int) -> Reading:
        """What a demonstration's step has the gripper do."""
        if not 0 <= index < len(demonstration.steps):
            raise InvalidInput(f"step {index} of a demonstration with {len(demonstration.steps)} steps")
        step, after = demonstration.steps[index], demonstration.images()[index + 1]
        return self._read(step.description, step.image, after, exact_hand(step.keypoints, self.sight))

    def _read(self, sentence: str, before: Picture, after: Picture, hand: HandPath) -> Reading:
        contact, sight, heights = contact_of(sentence), self.sight, self.heights
        if contact == "press":
            return read_press(before, after, hand, sight, heights)
        if contact == "turn":
            return read_turn(sentence, before, after, hand, sight, heights)
        if contact == "slide":
            return read_slide(sentence, hand, sight, heights)
        return read_carry(rest_of(sentence), before, after, hand, sight, heights, self.workspace.widest)

    def waypoints(self, reading: Reading, fps: float, frames: int) -> Waypoints:
        """The path for a reading of a clip of ``frames`` frames at ``fps``.

        Raises:
            OutOfReach: the robot does not reach there, or does not open so far.
        """
        path = _Path(reading, self.motion, self.workspace, self.sight.eye)
        write = {"carry": path.carry, "slide": path.slide, "turn": path.turn, "press": path.press}[reading.contact]
        write()
        return self.workspace.check(path.timed(fps, frames))


class _Path:
    """Waypoints as they are written down, each in one of the step's phases."""

    def __init__(self, reading: Reading, motion: Motion, workspace: Workspace, eye: Array) -> None:
        self.reading, self.motion, self.eye = reading, motion, eye
        self.open = min(reading.width + 2 * motion.opening, workspace.widest) if reading.width else 0.0
        self.open = max(self.open, reading.width)
        self.let_go = min(reading.width + 2 * motion.letting_go, self.open)
        self.closed = max(reading.width - motion.squeeze, 0.0)
        self.lowest, self.highest = workspace.low[2], workspace.high[2]
        # phase, position, yaw, aperture, holding, guarded
        self.rows: list[tuple[float, Array, float, float, bool, bool]] = []

    def go(
        self,
        phase: float,
        position: ArrayLike,
        yaw: float,
        aperture: float,
        holding: bool = False,
        guarded: bool = False,
    ) -> None:
        """``phase``: 0 the clip's start, 1 the hand takes hold, 2 it lets go, 3 the clip's end."""
        self.rows.append((phase, np.asarray(position, np.float64), yaw, aperture, holding, guarded))

    def carry(self) -> None:
        """Over it, down, close, up, across, down until it touches, open, up."""
        reading, motion = self.reading, self.motion
        start, end = reading.grasp, reading.release
        first, last = reading.yaws
        # What is carried reaches down to the table at the start: everything goes across that much higher.
        high = min(max(start[2], end[2]) + motion.clearance, self.highest)
        above, below = min(end[2] + motion.feel[0], high), max(end[2] - motion.feel[1], self.lowest)
        slope, turns = np.zeros(2), below
        if reading.rest == "on":
            # Down along the camera's ray to the first touch: one camera errs along its rays, and before what is seen at
            # the end of one there is nothing that would be in the way. Upright above where it is clearly seen to stand.
            slope, turns = (end - self.eye)[:2] / (end - self.eye)[2], end[2] + motion.seen
            if not reading.mismatch < motion.clear:
                high, below = max(high, min(motion.over, self.highest)), self.lowest
                above = turns = high
        top, bottom = (end[:2] + (height - end[2]) * slope for height in (turns, below))
        self.go(0.4, [*start[:2], high], first, self.open)
        self.go(0.9, start, first, self.open)
        self.go(1.0, start, first, self.closed, True)
        self.go(1.2, [*start[:2], high], first, self.closed, True)
        self.go(1.6, [*top, high], last, self.closed, True)
        if above < high:
            self.go(1.8, [*top, above], last, self.closed, True)
        if below < turns < above:
            self.go(1.9, [*top, turns], last, self.closed, True, guarded=True)
        self.go(1.95, [*bottom, below], last, self.closed, True, guarded=True)
        self.go(2.0, [*bottom, below], last, self.let_go)
        self.go(2.5, [*bottom, high], last, self.let_go)

    def slide(self) -> None:
        """Down on the handle, close, along, open, up."""
        reading, motion = self.reading, self.motion
        way = reading.release[:2] - reading.grasp[:2]
        length = max(float(np.linalg.norm(way)), 1e-6)
        end = np.array([*(reading.grasp[:2] + way * (1 + motion.overshoot / length)), reading.grasp[2]])
        yaw = reading.yaws[0]
        self._down(reading.grasp, yaw)
        self.go(1.9, end, yaw, self.closed, True)
        self._away(end, yaw)

    def turn(self) -> None:
        """Down on the knob, close, turn, open, up."""
        reading = self.reading
        first, last = reading.yaws
        last += np.copysign(self.motion.overturn, last - first)
        self._down(reading.grasp, first)
        for share in np.linspace(0.0, 1.0, _TURNS + 1)[1:]:
            self.go(1.0 + 0.9 * share, reading.grasp, first + share * (last - first), self.closed, True)
        self._away(reading.grasp, last)

    def press(self) -> None:
        """Closed, down on the button and below, up."""
        spot, yaw = self.reading.grasp, self.reading.yaws[0]
        above = _above(spot, self.motion.approach)
        self.go(0.4, above, yaw, 0.0)
        self.go(0.9, _above(spot, 0.01), yaw, 0.0)
        self.go(1.0, spot, yaw, 0.0, True)
        self.go(1.5, _above(spot, -self.motion.press), yaw, 0.0, True)
        self.go(2.0, spot, yaw, 0.0)
        self.go(2.5, above, yaw, 0.0)

    def _down(self, spot: Array, yaw: float) -> None:
        self.go(0.4, _above(spot, self.motion.approach), yaw, self.open)
        self.go(0.9, spot, yaw, self.open)
        self.go(1.0, spot, yaw, self.closed, True)

    def _away(self, spot: Array, yaw: float) -> None:
        self.go(2.0, spot, yaw, self.open)
        self.go(2.5, _above(spot, self.motion.approach), yaw, self.open)

    def timed(self, fps: float, frames: int) -> Waypoints:
        """The rows with the phases as seconds of the clip."""
        held, let_go = self.reading.frames
        marks = np.maximum.accumulate(np.array([0.0, held, let_go, frames - 1]) + np.arange(4) * 1e-3) / fps
        phase, positions, yaws, apertures, holding, guarded = zip(*self.rows, strict=True)
        return Waypoints(
            times=np.interp(phase, np.arange(4.0), marks),
            positions=np.stack(positions),
            yaws=np.array(yaws),
            apertures=np.array(apertures),
            holding=np.array(holding),
            guarded=np.array(guarded),
        )


def _above(spot: Array, height: float) -> Array:
    return spot + np.array([0.0, 0.0, height])
