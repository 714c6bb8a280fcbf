"""What a step does to the scene, read from its pictures and its hand: where the gripper has to take hold and let go.

The picture tells places, the hand tells which of them and when. What a step moves is seen twice, at the place that
changes first and at the place that changes last (`prism`); what stays where it is (a knob, a button) or slides on a
rail is found by the hand, at the height at which such things are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from ksgen_envs.executors.contact import Contact, Rest, contact_of, rest_of, slow_frames, times_at, turning_sense
from ksgen_envs.executors.hand_pose import HandPath, half_turn
from ksgen_envs.executors.prism import ABOVE_GRIP, Prism, below_top, fit_standing, follow
from ksgen_envs.executors.scene_change import Picture, Region, filled, split_between, vacated
from ksgen_envs.executors.sight import Array, Sight

_CANDIDATES = 8
_LEAST_SHARE = 0.2  # of a region, for one of its two ends
_FARTHEST = 0.19  # normalised, from the pinch to a region that it is to have to do with, both ends together
_GOOD_FIT, _WORST_FIT = 0.3, 0.6  # mismatch of a prism that leaves little to explain, and that stands for nothing
_NARROW = 20.0  # radians a metre: how much narrow faces are preferred
_MEASURED, _ENTERED = 0.01, 0.003  # metres by which heights err that come from the hand, and from `Heights`
_DEEP = (
    0.6,
    0.034,
)  # of the height, and metres at most, below the top: deeper than fingers, for tops may be round
_SUNK = 0.02  # metres, how deep things stand in holes and slots
_SLENDER = 2.0  # times as long as wide
_FREE = 0.016  # metres of the lowest keypoint: below, the table keeps the hand from being where it would be
_TURN = (np.deg2rad(80.0), np.deg2rad(120.0))  # a turn with the fingers, least and most


@dataclass(frozen=True)
class Heights:
    """Metres above the table at which things are, as one measures once at a work place.

    Attributes:
        handle: of what is pulled or pushed.
        knob: of what is turned, where one holds it.
        button: of the top of what is pressed.
        grip: where a thing is held of which nothing else is known.
        socket: of the floor of the holes and slots that things are fitted into.
    """

    handle: float = 0.036
    knob: float = 0.045
    button: float = 0.044
    grip: float = 0.025
    socket: float = 0.006


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


def read_step(
    sentence: str, before: Picture, after: Picture, hand: HandPath, sight: Sight, heights: Heights, widest: float
) -> Reading:
    """Read one step.

    Args:
        sentence: says what kind of contact it is.
        before, after: (H, W, 3) uint8, the scene without hands when the step begins and when it is done.
        hand: the working hand through the clip.
        sight: the camera.
        heights: of things that do not lie on the table.
        widest: metres, the gripper's largest aperture.
    """
    contact = contact_of(sentence)
    if contact == "press":
        return _read_press(hand, sight, heights)
    if contact == "turn":
        return _read_turn(sentence, hand, sight, heights)
    if contact == "slide":
        return _read_slide(hand, sight, heights)
    rest = rest_of(sentence)
    seen = _read_carry(before, after, hand, sight, widest, heights.socket if rest == "fitted" else None)
    return replace(seen if seen is not None else _carry_by_hand(hand, sight, heights), rest=rest)


def _read_carry(
    before: Picture, after: Picture, hand: HandPath, sight: Sight, widest: float, floor: float | None
) -> Reading | None:
    best: Reading | None = None
    for count_doubtful in (False, True):
        found = _moved_regions(before, after, hand, count_doubtful)
        reading = None if found is None else _carried(before, after, hand, sight, widest, floor, *found)
        if reading is not None and (best is None or reading.mismatch < best.mismatch):
            best = reading
        if best is not None and best.mismatch < _GOOD_FIT:
            break
    return best if best is not None and best.mismatch < _WORST_FIT else None


def _carried(
    before: Picture,
    after: Picture,
    hand: HandPath,
    sight: Sight,
    widest: float,
    floor: float | None,
    start: Region,
    end: Region,
    frames: tuple[int, int],
) -> Reading:
    held, let_go = frames
    yaws = hand.yaw(sight)
    grip = base = turn = None
    # Fingers that touch the table are not where they would be.
    if hand.depth_known and hand.lowest[held] > _FREE:
        grip = float(hand.pinch[held, 2])
    pinch = hand.pinch_image[held] if hand.valid[held] else None
    stood, misfit = fit_standing(start, sight, pinch=pinch, grip=grip)
    below = below_top(stood.height)
    if hand.depth_known:
        turn = float(half_turn(yaws[let_go] - yaws[held]))
        low = stood.height - below + ABOVE_GRIP if grip is None else grip
        base = max(0.0, float(hand.pinch[let_go, 2] - low)) if hand.lowest[let_go] > _FREE else None
    error, sunk = _MEASURED, 0.0
    if floor is not None:
        base, error, sunk = floor, _ENTERED, _SUNK
    went, miss = follow(stood, before, after, end, sight, base=base, turn=turn or 0.0, base_error=error, sunk=sunk)
    across, width = _grip_axis(stood, float(yaws[held]), widest)
    depth = min(_DEEP[0] * stood.height, _DEEP[1])
    between = np.array([0.0, 0.0, stood.height - depth])
    return Reading(
        contact="carry",
        frames=frames,
        grasp=stood.place(between),
        release=went.place(between),
        yaws=(stood.yaw + across, went.yaw + across),
        width=width,
        top=depth,
        evidence="picture",
        mismatch=max(misfit, miss),
        slender=max(stood.width, stood.depth) > _SLENDER * min(stood.width, stood.depth),
    )


def _moved_regions(
    before: Picture, after: Picture, hand: HandPath, count_doubtful: bool
) -> tuple[Region, Region, tuple[int, int]] | None:
    # The region where the hand took the thing and the one where it put it, with the frames in which it was there.
    slow = slow_frames(hand)
    starts = vacated(before, after, count_doubtful=count_doubtful)[:_CANDIDATES]
    ends = filled(before, after, count_doubtful=count_doubtful)[:_CANDIDATES]
    best: tuple[float, Region, Region, tuple[int, int]] | None = None
    for start, end in _pairs(starts, ends, hand, slow):
        held, let_go, away = times_at(hand, start.centre, end.centre)
        # Of two explanations the one that explains more of the change.
        cost = away - 2.0 * np.sqrt(start.area + end.area)
        if away < _FARTHEST and (best is None or cost < best[0]):
            best = (cost, start, end, (held, let_go))
    return None if best is None else best[1:]


def _pairs(
    starts: list[Region], ends: list[Region], hand: HandPath, slow: tuple[int, int]
) -> Iterator[tuple[Region, Region]]:
    # Two regions apart; and where a thing was moved by less than its size, the two ends of one.
    first, last = hand.pinch_image[list(slow)]
    for start, end in product(starts, ends):
        if not (start.mask & end.mask).any():
            yield start, end
            continue
        one, other = split_between(start, first, last)[0], split_between(end, first, last)[1]
        if min(one.area, other.area) > _LEAST_SHARE * max(start.area, end.area):
            yield one, other


def _grip_axis(prism: Prism, yaw: float, widest: float) -> tuple[float, float]:
    # The pads go on the two faces that the hand held, or on nearer ones where the hand leaves it open, and not on faces
    # too far apart: (turn against the prism, width).
    sides = [(0.0, prism.width), (np.pi / 2, prism.depth)]
    reachable = [side for side in sides if side[1] < widest - 0.01] or [min(sides, key=lambda side: side[1])]
    return min(
        reachable,
        key=lambda side: abs(float(half_turn(np.array(yaw - prism.yaw - side[0])))) + _NARROW * side[1],
    )


def _carry_by_hand(hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    held, let_go = frames = slow_frames(hand)
    yaws = hand.yaw(sight)
    turn = float(half_turn(yaws[let_go] - yaws[held]))
    return Reading(
        contact="carry",
        frames=frames,
        grasp=_pinched(hand, sight, [held], heights.grip),
        release=_pinched(hand, sight, [let_go], heights.grip),
        yaws=(float(yaws[held]), float(yaws[held]) + turn),
        width=0.03,
        top=0.03,
        evidence="hand",
    )


def _read_slide(hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    held, let_go = frames = slow_frames(hand)
    grasp = _pinched(hand, sight, [held - 1, held], heights.handle)
    release = _pinched(hand, sight, [let_go, let_go + 1], heights.handle)
    # A handle is held across the way it goes.
    way = release - grasp
    yaw = float(half_turn(np.arctan2(way[1], way[0]) + np.pi / 2))
    return Reading("slide", frames, grasp, release, (yaw, yaw), 0.02, 0.02, "hand")


def _read_turn(sentence: str, hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    held, let_go = frames = slow_frames(hand)
    between = [at for at in range(held, let_go + 1) if hand.valid[at]]
    yaws = hand.yaw(sight)[between]
    turned = float(half_turn(np.diff(yaws)).sum())
    sense = turning_sense(sentence)
    # What turns has a stop: rather too far than not far enough.
    turned = (sense or np.sign(turned) or -1.0) * float(np.clip(abs(turned), *_TURN))
    spot = _pinched(hand, sight, between, heights.knob)
    return Reading("turn", frames, spot, spot, (float(yaws[0]), float(yaws[0]) + turned), 0.036, 0.01, "hand")


def _read_press(hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    held, let_go = frames = slow_frames(hand)
    between = [at for at in range(held, let_go + 1) if hand.valid[at]]
    spot = sight.at_height(np.median(hand.tip_image[between], axis=0), heights.button)
    return Reading("press", frames, spot, spot, (0.0, 0.0), 0.0, 0.0, "hand")


def _pinched(hand: HandPath, sight: Sight, frames: list[int], height: float) -> Array:
    # Where the hand pinches over some frames: measured where its depth is known, else on its ray at a height.
    seen = [at for at in frames if 0 <= at < len(hand.valid) and hand.valid[at]]
    if hand.depth_known:
        return np.median(hand.pinch[seen], axis=0)
    return sight.at_height(np.median(hand.pinch_image[seen], axis=0), height)
