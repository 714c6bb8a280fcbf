"""Which hand is which through a clip: loose detections of single frames become one left and one right track.

Detections are linked from frame to frame by the place of the palm. Each chain of links votes, with all its frames
together, on whether it is the left or the right hand, so a wrong guess in a few frames never makes a hand change sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ksgen_models.hands.landmarker import Detection
from ksgen_models.types import HAND_KEYPOINTS, LEFT, RIGHT, HandTrack

_SAME_HAND = 0.3  # palms closer than this share of their size are one hand seen twice
_REACH = 0.9  # a palm moves at most this share of its size from one frame to the next
_LONGEST_GAP = 8  # frames over which a chain may be taken up again
_SURE = 0.25  # mean of 2p - 1 from which a chain's own vote is trusted
_SHORT = 3  # chains of fewer frames beside another hand are taken for false alarms


@dataclass
class _Chain:
    frames: list[int] = field(default_factory=list)
    detections: list[Detection] = field(default_factory=list)

    @property
    def vote(self) -> float:
        """Sum over the frames of 2p - 1: positive for the right hand."""
        return float(sum(2 * detection.right - 1 for detection in self.detections))

    @property
    def is_sure(self) -> bool:
        return abs(self.vote) >= _SURE * len(self.frames)


def without_doubles(detections: Sequence[Detection]) -> list[Detection]:
    """Drop detections of a hand that an earlier one of the list has already."""
    kept: list[Detection] = []
    for detection in detections:
        if all(_distance(detection, other) > _SAME_HAND for other in kept):
            kept.append(detection)
    return kept


def assign_identity(frames: Sequence[Sequence[Detection]]) -> HandTrack:
    """Sort the detections of each frame into a left and a right track.

    Args:
        frames: for each of T frames the hands found in it, in any order.

    Returns:
        The track, T frames long; nothing is interpolated yet.
    """
    chains = _without_false_alarms(_link(frames), len(frames))
    return _to_track(_choose_sides(chains), len(frames))


def _link(frames: Sequence[Sequence[Detection]]) -> list[_Chain]:
    chains: list[_Chain] = []
    for now, detections in enumerate(frames):
        alive = [chain for chain in chains if now - chain.frames[-1] <= _LONGEST_GAP]
        pairs = sorted(
            (
                (_distance(chain.detections[-1], detection), c, d)
                for c, chain in enumerate(alive)
                for d, detection in enumerate(detections)
                if _distance(chain.detections[-1], detection) <= _REACH * (now - chain.frames[-1]) ** 0.5
            ),
        )
        linked: dict[int, int] = {}
        for _, c, d in pairs:
            if d not in linked and c not in linked.values():
                linked[d] = c
        for d, detection in enumerate(detections):
            chain = alive[linked[d]] if d in linked else _Chain()
            if d not in linked:
                chains.append(chain)
            chain.frames.append(now)
            chain.detections.append(detection)
    return chains


def _without_false_alarms(chains: list[_Chain], length: int) -> list[_Chain]:
    if length < 2 * _SHORT:
        return chains
    long = {frame for chain in chains if len(chain.frames) >= _SHORT for frame in chain.frames}
    return [chain for chain in chains if len(chain.frames) >= _SHORT or not long.intersection(chain.frames)]


def _choose_sides(chains: list[_Chain]) -> list[tuple[_Chain, int]]:
    """The chains with the strongest votes choose first; one that is alive beside them takes the other side."""
    chosen: list[tuple[_Chain, int]] = []
    for chain in sorted(chains, key=lambda chain: -abs(chain.vote)):
        side = RIGHT if chain.vote > 0 else LEFT
        if not chain.is_sure and chosen:
            side = _side_of_nearest(chain, chosen)
        beside = {side: _shared_frames(chain, chosen, side) for side in (LEFT, RIGHT)}
        if beside[side] > beside[1 - side]:
            side = 1 - side
        chosen.append((chain, side))
    return chosen


def _side_of_nearest(chain: _Chain, chosen: list[tuple[_Chain, int]]) -> int:
    def frames_between(other: _Chain) -> int:
        return min(abs(other.frames[0] - chain.frames[-1]), abs(chain.frames[0] - other.frames[-1]))

    return min(chosen, key=lambda pair: frames_between(pair[0]))[1]


def _shared_frames(chain: _Chain, chosen: list[tuple[_Chain, int]], side: int) -> int:
    return sum(len(set(chain.frames).intersection(other.frames)) for other, taken in chosen if taken == side)


def _to_track(chosen: list[tuple[_Chain, int]], length: int) -> HandTrack:
    keypoints = np.full((length, 2, HAND_KEYPOINTS, 3), np.nan, np.float32)
    world = np.full_like(keypoints, np.nan)
    confidence = np.zeros((length, 2), np.float32)
    valid = np.zeros((length, 2), bool)
    for chain, side in chosen:
        for frame, detection in zip(chain.frames, chain.detections, strict=True):
            if valid[frame, side]:  # both sides are taken by chains with stronger votes
                continue
            keypoints[frame, side], world[frame, side] = detection.keypoints, detection.world
            confidence[frame, side], valid[frame, side] = detection.score, True
    return HandTrack(keypoints, world, confidence, valid, np.zeros_like(valid))


def _distance(first: Detection, second: Detection) -> float:
    """Between two palms, in sizes of the larger hand."""
    apart = float(np.linalg.norm(first.centre - second.centre))
    return apart / max(first.size, second.size, 1e-6)
