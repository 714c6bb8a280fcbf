"""Reads a step that works something which stays where it is: a drawer, a knob, a button.

It is found by the hand, at the height at which such things are (`Heights`), and by what changes close to the hand. The
robot's own touch has to make up for the rest (`yielding`).
"""

from __future__ import annotations

import numpy as np

from ksgen_envs.executors.contact import pushes, slow_frames, turning_sense
from ksgen_envs.executors.hand_pose import HandPath, half_turn
from ksgen_envs.executors.reading import Heights, Reading
from ksgen_envs.executors.scene_change import Picture, vacated
from ksgen_envs.executors.sight import Array, Sight

_ENDS = (0.15, 0.85)  # of the frames, taken for the two ends of a way: single frames may be far off
_LONGEST = 0.10  # metres: hands go on beyond where they let go
_NEAR, _SMALL = 0.09, 0.06  # metres from the hand to what it works, and the most that this measures
_TURN = (np.deg2rad(80.0), np.deg2rad(120.0))  # a turn with the fingers, least and most


def read_slide(sentence: str, hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    """Read a step that pulls or pushes something on a rail."""
    frames = slow_frames(hand)
    # A tracked hand is where it is seen to be on the whole, now and then a frame is far off.
    first, last = frames if hand.depth_known else (0, len(hand.valid) - 1)
    seen = first + np.flatnonzero(hand.valid[first : last + 1])
    path = _places(hand, sight, heights.handle)[seen]
    middle = np.median(path, axis=0)
    axis = np.linalg.svd(path[:, :2] - middle[:2])[2][0]
    # What is pulled comes towards the person, which is where the wrist is; what is pushed goes the other way.
    pushed = pushes(sentence)
    wrist = sight.at_height(hand.image[seen, 0], heights.handle)
    towards = float(np.median((wrist - path)[:, :2], axis=0) @ axis)
    way = axis * np.copysign(1.0, towards) * (-1.0 if pushed else 1.0)
    least, most = np.quantile((path[:, :2] - middle[:2]) @ way, (0.0, 1.0) if hand.depth_known else _ENDS)
    most = min(most, least + _LONGEST)
    grasp, release = middle.copy(), middle.copy()
    grasp[:2] += least * way
    release[:2] += most * way
    # A handle is held across the way it goes.
    yaw = float(half_turn(np.arctan2(way[1], way[0]) + np.pi / 2))
    return Reading("slide", frames, grasp, release, (yaw, yaw), 0.02, 0.02, "hand", pushes=pushed)


def read_turn(
    sentence: str, before: Picture, after: Picture, hand: HandPath, sight: Sight, heights: Heights
) -> Reading:
    """Read a step that turns something on an axle."""
    held, let_go = frames = slow_frames(hand)
    between = [at for at in range(held, let_go + 1) if hand.valid[at]]
    yaws = hand.yaw(sight)[between]
    turned = float(half_turn(np.diff(yaws)).sum())
    sense = turning_sense(sentence)
    # What turns has a stop: rather too far than not far enough.
    turned = (sense or np.sign(turned) or -1.0) * float(np.clip(abs(turned), *_TURN))
    spot = np.median(_places(hand, sight, heights.knob)[hand.valid], axis=0)
    changed = _changed_near(spot, before, after, sight, heights.knob)
    if changed is not None:
        # Of a knob its pointer changes, which lies to one side.
        spot = (spot + changed) / 2
    evidence = "hand" if changed is None else "picture"
    return Reading("turn", frames, spot, spot, (float(yaws[0]), float(yaws[0]) + turned), 0.036, 0.01, evidence)


def read_press(before: Picture, after: Picture, hand: HandPath, sight: Sight, heights: Heights) -> Reading:
    """Read a step that presses something."""
    frames = slow_frames(hand)
    spot = sight.at_height(np.median(hand.tip_image[hand.valid], axis=0), heights.button)
    changed = _changed_near(spot, before, after, sight, heights.button)
    evidence = "hand" if changed is None else "picture"
    spot = spot if changed is None else changed
    return Reading("press", frames, spot, spot, (0.0, 0.0), 0.0, 0.0, evidence)


def _changed_near(spot: Array, before: Picture, after: Picture, sight: Sight, height: float) -> Array | None:
    # Where something small changes near a place, as what is worked with a hand looks different afterwards.
    best, most = None, 0.0
    for region in vacated(before, after, count_doubtful=True):
        image = np.argwhere(region.mask)[:, ::-1] / region.mask.shape[::-1]
        size = float(np.ptp(sight.at_height(image, height)[:, :2], axis=0).max())
        place = sight.at_height(region.centre, height)
        near = 1.0 - float(np.linalg.norm((place - spot)[:2])) / _NEAR
        if size < _SMALL and np.sqrt(region.area) * near > most:
            best, most = place, np.sqrt(region.area) * near
    return best


def _places(hand: HandPath, sight: Sight, height: float) -> Array:
    # (T, 3) metres, where the hand pinches: measured where its depth is known, else on its rays at a height.
    return hand.pinch if hand.depth_known else sight.at_height(hand.pinch_image, height)
