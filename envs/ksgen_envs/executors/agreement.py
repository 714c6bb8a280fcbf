"""What several imaginations of one key step agree on.

A generator errs now here and now there. Where the pictures of the scene after the step agree, a thing that all of them
show is left with a plain outline and traces that one of them shows are gone; a hand that most of them lead to the
same place is not led astray by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ksgen_models.scores import MOTION_LEVEL, trust
from ksgen_models.types import HandTrack, KeyStep

_ALIKE, _AKIN = 0.6, 0.3
"""Intersection over union of what changes with the imagination that is most like all: less is another place, and still
less another thing."""


def agreed(steps: Sequence[KeyStep]) -> KeyStep:
    """The most trusted of those that change the same, with medians: of their goal images, and of the hands that do it.

    Args:
        steps: imaginations of the same key step from the same picture, at least one.
    """
    if len(steps) == 1:
        return steps[0]
    if len({step.image.tobytes() for step in steps}) > 1:
        return max(steps, key=lambda step: trust(step.scores))
    changes = np.stack([_changed(step) for step in steps])
    likeness = np.stack([_likeness(change, changes) for change in changes])
    middle = likeness[int(likeness.mean(axis=1).argmax())]
    kept, akin = (
        [step for step, like in zip(steps, middle, strict=True) if like >= least] for least in (_ALIKE, _AKIN)
    )
    best = max(kept, key=lambda step: trust(step.scores))
    goal = np.median([step.goal for step in kept], axis=0).round().astype(np.uint8)
    return replace(best, goal=goal, hands=_middle_hands([step.hands for step in akin]))


def _changed(step: KeyStep) -> NDArray[np.bool_]:
    return np.abs(step.goal.astype(np.int16) - step.image).max(axis=-1) > MOTION_LEVEL


def _likeness(change: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    # Intersection over union with each of them; 1 of two that change nothing.
    both, either = (change & others).sum(axis=(1, 2)), (change | others).sum(axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _middle_hands(tracks: Sequence[HandTrack]) -> HandTrack:
    # In each frame the median of those that see the hand.
    if len({len(track.valid) for track in tracks}) > 1:
        return tracks[0]
    valid = np.stack([track.valid for track in tracks])
    middle = {}
    for name in ("keypoints", "world", "confidence"):
        values = np.ma.masked_array(np.stack([getattr(track, name) for track in tracks]))
        values[~valid] = np.ma.masked
        fill = 0.0 if name == "confidence" else np.nan
        middle[name] = np.ma.median(values, axis=0).filled(fill).astype(np.float32)
    seen = np.asarray(valid.any(axis=0))
    measured = np.asarray(np.stack([track.valid & ~track.interpolated for track in tracks]).any(axis=0))
    return HandTrack(**middle, valid=seen, interpolated=seen & ~measured)
