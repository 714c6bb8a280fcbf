"""When a hand takes hold and lets go, and what kind of contact a step is."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from ksgen_envs.executors.hand_pose import HandPath
from ksgen_envs.executors.scene_change import Region
from ksgen_envs.executors.sight import Array
from ksgen_models.errors import NoHandFound

Contact = Literal["carry", "slide", "turn", "press"]
Rest = Literal["on", "in", "fitted"]
_SLOW = 0.25  # of the hand's fast speed: slower, it is at its work
_LOST = 0.12  # normalised: farther from a place than this, a hand has not been seen there
_CARRIES = 0.15  # of the clip: nothing is taken, carried and let go of in less
_INTO_DRAWER = re.compile(r"\b(in|into|inside)\b( the| an?)?( open)? drawer\b")
_SLIDING = re.compile(r"\b(open|close|shut|pull|push|slide|draw)\b.*\b(drawer|door|lid)\b")
_PUSHING = re.compile(r"\b(close|closed|shut|push)\b")
_TURNING = re.compile(r"\b(turn|twist|rotate)\b.*\b(knob|dial|valve|cap)\b|\bknob\b.*\bturn\b")
_PRESSING = re.compile(r"\b(press|push|tap|hit)\b.*\b(button|switch|key)\b")
_INSIDE = re.compile(r"\b(in|into|inside|bin|box|basket|drawer)\b")
_FITTED = re.compile(r"\b(in|into|inside)\b.*\b(hole|slot|socket|groove|base)\b")
_LEFTWARD = re.compile(r"\b(left|counter-?clockwise|anti-?clockwise)\b")
_RIGHTWARD = re.compile(r"\b(right|clockwise)\b")


def contact_of(sentence: str) -> Contact:
    """What kind of contact a step's sentence asks for; ``"carry"`` where it says nothing else."""
    words = sentence.lower()
    if _PRESSING.search(words):
        return "press"
    if _SLIDING.search(words) and not _INTO_DRAWER.search(words):
        return "slide"
    if _TURNING.search(words):
        return "turn"
    return "carry"


def pushes(sentence: str) -> bool:
    """Whether what slides is to be pushed away from who does it; else it is pulled."""
    return bool(_PUSHING.search(sentence.lower()))


def rest_of(sentence: str) -> Rest:
    """How what a step's sentence has carried comes to rest: on something, loosely in it, or fitted into it."""
    words = sentence.lower()
    if _FITTED.search(words):
        return "fitted"
    return "in" if _INSIDE.search(words) else "on"


def turning_sense(sentence: str) -> int:
    """Which way a sentence says to turn, seen from above: 1 counter-clockwise, -1 clockwise, 0 where it is silent."""
    words = sentence.lower()
    if _LEFTWARD.search(words):
        return 1
    return -1 if _RIGHTWARD.search(words) else 0


def slow_frames(hand: HandPath) -> tuple[int, int]:
    """The frames in which the hand has taken hold and is about to let go: it comes fast, stands, acts, stands, leaves.

    Raises:
        NoHandFound: the hand is seen in too few frames.
    """
    seen = np.flatnonzero(hand.valid)
    if len(seen) < 3:
        raise NoHandFound(f"the hand is seen in {len(seen)} frames; 3 are needed to tell when it takes hold")
    place = hand.pinch_image[seen]
    pace = np.linalg.norm(np.diff(place, axis=0), axis=-1) / np.diff(seen)  # from each frame to the next
    slow = np.flatnonzero(pace <= max(_SLOW * float(np.quantile(pace, 0.9)), float(pace.min())))
    first, last = int(slow[0]), int(slow[-1])
    # One frame on to where it stands stiller.
    first += first + 1 < last and pace[first + 1] < pace[first]
    last -= last - 1 > first and pace[last - 1] < pace[last]
    first = min(first + 1, last)
    last = max(first + 1, last)
    return int(seen[first]), int(seen[last])


def times_at(hand: HandPath, start: Region, end: Region) -> tuple[int, int, float]:
    """The frames in which the hand is nearest to where a thing was and then to where it went.

    Of frames almost as near it takes the slowest, since a hand that takes hold or lets go stands still. What is within
    a thing is as near as can be: a hand may hold it anywhere.

    Args:
        hand: the path.
        start, end: where the thing was seen.

    Returns:
        Both frames, the first before the second, and the distances together, normalised.
    """
    seen = np.flatnonzero(hand.valid)
    place = hand.pinch_image[seen]
    pace = np.linalg.norm(np.gradient(place, axis=0), axis=-1)
    # The hand may be lost by the tracker at one of the two.
    near_start, near_end = (np.clip(_distance(place, region), 0.0, _LOST) for region in (start, end))
    cost = (near_start + pace)[:, None] + (near_end + pace)[None, :]
    least = int(np.ceil(_CARRIES * len(hand.valid)))
    apart = seen[None, :] - seen[:, None]
    cost = np.where(apart >= min(least, int(apart.max())), cost, np.inf)
    first, last = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return int(seen[first]), int(seen[last]), float(near_start[first] + near_end[last])


def _distance(places: Array, region: Region) -> Array:
    # (N,) of places (N, 2) from a disk as large as the region.
    return np.linalg.norm(places - region.centre, axis=-1) - np.sqrt(region.area / np.pi)
