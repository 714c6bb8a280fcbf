"""Filling short gaps of a hand track, and smoothing it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ksgen_models.types import HandTrack


def interpolate_gaps(track: HandTrack, longest: int = 3) -> HandTrack:
    """Fill gaps of at most ``longest`` frames between two measured frames of the same hand, linearly.

    Filled frames are ``valid`` and ``interpolated``; their confidence is half the lower of the two ends.
    """
    keypoints, world = track.keypoints.copy(), track.world.copy()
    confidence, valid, interpolated = track.confidence.copy(), track.valid.copy(), track.interpolated.copy()
    for hand in range(valid.shape[1]):
        measured = np.flatnonzero(track.valid[:, hand])
        for before, after in itertools.pairwise(measured):
            if not 1 < after - before <= longest + 1:
                continue
            gap = np.arange(before + 1, after)
            share = ((gap - before) / (after - before)).astype(np.float32)[:, None, None]
            for values in (keypoints, world):
                values[gap, hand] = (1 - share) * values[before, hand] + share * values[after, hand]
            confidence[gap, hand] = min(confidence[before, hand], confidence[after, hand]) / 2
            valid[gap, hand] = interpolated[gap, hand] = True
    return HandTrack(keypoints, world, confidence, valid, interpolated)


def smooth_track(track: HandTrack, fps: float, *, cutoff: float = 1.5, beta: float = 4.0) -> HandTrack:
    """Smooth the keypoints with a One-Euro filter (Casiez et al., CHI 2012): still hands strongly, fast ones little.

    Args:
        track: the track; each unbroken run of a hand is smoothed on its own.
        fps: frames a second.
        cutoff: Hz, for a hand at rest.
        beta: Hz of cutoff gained per image size a second of speed.
    """
    keypoints = track.keypoints.copy()
    world = track.world.copy()
    for hand in range(track.valid.shape[1]):
        for start, stop in runs(track.valid[:, hand]):
            keypoints[start:stop, hand] = one_euro(keypoints[start:stop, hand], fps, cutoff, beta)
            world[start:stop, hand] = one_euro(world[start:stop, hand], fps, cutoff, beta)
    return replace(track, keypoints=keypoints, world=world)


def one_euro(values: NDArray[np.float32], fps: float, cutoff: float, beta: float) -> NDArray[np.float32]:
    """The One-Euro filter over axis 0 of (T, ...) float32 (Casiez et al., CHI 2012, algorithm 1)."""
    smoothed = values.copy()
    slope = np.zeros_like(values[0])
    for now in range(1, len(values)):
        slope = slope + _alpha(1.0, fps) * ((values[now] - smoothed[now - 1]) * fps - slope)
        smoothed[now] = smoothed[now - 1] + _alpha(cutoff + beta * np.abs(slope), fps) * (
            values[now] - smoothed[now - 1]
        )
    return smoothed


def runs(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Unbroken runs of True in (T,) bool, as (start, stop)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _alpha(cutoff: float | NDArray[np.float32], fps: float) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + fps / (2 * np.pi * cutoff)), np.float32)
