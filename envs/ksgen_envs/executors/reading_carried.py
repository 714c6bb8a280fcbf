"""Reads a step that carries something: what it moves is seen twice, where it changes first and where it changes last.

The pictures tell places, the hand helps to tell which of them and when.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from ksgen_envs.executors.contact import Rest, slow_frames, times_at
from ksgen_envs.executors.hand_pose import HandPath, half_turn
from ksgen_envs.executors.prism import Prism
from ksgen_envs.executors.prism_fit import ABOVE_GRIP, below_top, fit_standing, follow
from ksgen_envs.executors.reading import Heights, Reading
from ksgen_envs.executors.scene_change import Picture, Region, filled, split_between, stands_out, vacated
from ksgen_envs.executors.sight import Array, Sight

_CANDIDATES = 8
_LEAST_SHARE = 0.2  # of a region, for one of its two ends
_AWAY = 2.0  # what the pinch's distance from both places weighs, against the sizes of what is explained
_SHOWN = 0.3  # the same of how far a thing stands out at both
_GOOD_FIT, _WORST_FIT = 0.3, 0.6  # mismatch of a step that is explained, and of a prism that stands for nothing
_FIRST = 0.6  # what the first picture's mismatch weighs against the second's
_NARROW = 60.0  # radians a metre: how much narrow faces are preferred; hands may be drawn or seen askew
_MEASURED, _ENTERED = 0.01, 0.003  # metres by which heights err that come from the hand, and from `Heights`
_DEEP = (0.6, 0.034)  # of the height, and metres at most, below the top: deeper than fingers, for tops may be round
_SUNK = 0.02  # metres, how deep things stand in holes and slots
_FINGERTIPS = 0.016  # metres that a grip must be over what the thing is to sink into, for the fingers' ends
_SLENDER = 2.0  # times as long as wide
_FREE = 0.016  # metres of the lowest keypoint: below, the table keeps the hand from being where it would be


def read_carry(
    rest: Rest, before: Picture, after: Picture, hand: HandPath, sight: Sight, heights: Heights, widest: float
) -> Reading:
    """Read a step that carries something.

    Args:
        rest: how it comes to rest.
        before, after: (H, W, 3) uint8, the scene without hands when the step begins and when it is done.
        hand: the working hand through the clip.
        sight: the camera.
        heights: of things that do not lie on the table.
        widest: metres, the gripper's largest aperture.
    """
    floor = {"fitted": heights.socket, "in": heights.container, "on": None}[rest]
    explained: list[tuple[float, Reading]] = []
    for count_doubtful in (False, True):
        found = _moved_regions(before, after, hand, count_doubtful)
        explanation = found and _carried(before, after, hand, sight, widest, rest, floor, *found)
        if explanation:
            explained.append(explanation)
            if explanation[1].mismatch < _GOOD_FIT:
                break
    best = min(explained, key=lambda one: one[0])[1] if explained else _by_hand(hand, sight, heights)
    return replace(best, rest=rest)


def _carried(
    before: Picture,
    after: Picture,
    hand: HandPath,
    sight: Sight,
    widest: float,
    rest: Rest,
    floor: float | None,
    start: Region,
    end: Region,
    frames: tuple[int, int],
) -> tuple[float, Reading] | None:
    # With how badly both pictures are explained: where the second is blurred, the first tells a thing from a thing with
    # its shadow; half a thing is explained well by the first and not by the second.
    held, let_go = frames
    yaws = hand.yaw(sight)
    grip = base = turn = None
    # Fingers that touch the table are not where they would be.
    if hand.depth_known and hand.lowest[held] > _FREE:
        grip = float(hand.pinch[held, 2])
    pinch = np.nanmedian(hand.pinch_image[max(0, held - 1) : held + 2], axis=0)  # `held` is one of the seen frames
    stood, misfit = fit_standing(start, sight, pinch=pinch, grip=grip)
    if misfit > _WORST_FIT:
        return None
    below = below_top(stood.height)
    if hand.depth_known:
        turn = float(half_turn(yaws[let_go] - yaws[held]))
        low = stood.height - below + ABOVE_GRIP if grip is None else grip
        base = max(0.0, float(hand.pinch[let_go, 2] - low)) if hand.lowest[let_go] > _FREE else None
    error, sunk = _MEASURED, 0.0
    if floor is not None:
        base, error, sunk = floor, _ENTERED, _SUNK if rest == "fitted" else 0.0
    went, miss = follow(stood, before, after, end, sight, base=base, turn=turn or 0.0, base_error=error, sunk=sunk)
    across, width = _grip_axis(stood, float(yaws[held]), widest)
    depth = min(_DEEP[0] * stood.height, _DEEP[1])
    if rest == "fitted" and stood.round:
        depth = max(depth, stood.height - _SUNK - _FINGERTIPS)
    between = np.array([0.0, 0.0, stood.height - depth])
    return _FIRST * misfit + miss, Reading(
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
        held, let_go, away = times_at(hand, start, end)
        # Of two explanations the one that explains more of the change, and has the thing stand out where it was before
        # and where it is after.
        shown = stands_out(before, start) - stands_out(after, start) + stands_out(after, end) - stands_out(before, end)
        cost = _AWAY * away - 2.0 * np.sqrt(start.area + end.area) - _SHOWN * shown
        if best is None or cost < best[0]:
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
    # too far apart: (turn against the prism, width). What is round is held as the hand held it.
    if prism.round:
        return float(half_turn(np.array(yaw - prism.yaw))), prism.width
    sides = [(0.0, prism.width), (np.pi / 2, prism.depth)]
    reachable = [side for side in sides if side[1] < widest - 0.01] or [min(sides, key=lambda side: side[1])]
    return min(
        reachable,
        key=lambda side: abs(float(half_turn(np.array(yaw - prism.yaw - side[0])))) + _NARROW * side[1],
    )


def _by_hand(hand: HandPath, sight: Sight, heights: Heights) -> Reading:
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


def _pinched(hand: HandPath, sight: Sight, frames: list[int], height: float) -> Array:
    # Where the hand pinches over some frames: measured where its depth is known, else on its ray at a height.
    seen = [at for at in frames if 0 <= at < len(hand.valid) and hand.valid[at]]
    if hand.depth_known:
        return np.median(hand.pinch[seen], axis=0)
    return sight.at_height(np.median(hand.pinch_image[seen], axis=0), height)
