"""From figures to parts: which frames of a stretch are dropped, why, and how the rest is cut into subclips."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.hands.smoothing import runs

REASONS: dict[str, str] = {
    "low_resolution": "The video's shorter side is too small.",
    "low_frame_rate": "The video has fewer frames a second than a subclip.",
    "scene_cut": "The scene changes here.",
    "still": "Nothing moves.",
    "shaky": "The camera shakes.",
    "blurred": "The picture is blurred.",
    "text": "Text lies over the picture.",
    "no_hand": "No hand is seen.",
    "too_short": "What is left between dropped parts is shorter than a subclip.",
    "near_duplicate": "The same was kept already.",
}
"""Why something is dropped, in the order of the filters."""


@dataclass(frozen=True)
class Part:
    """Frames [start, stop) of a stretch.

    Attributes:
        start, stop: frames.
        reasons: why they are dropped, keys of `REASONS`; empty for a subclip.
    """

    start: int
    stop: int
    reasons: tuple[str, ...]


def long_runs(mask: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """(T,) bool: only the runs of at least ``shortest`` frames."""
    kept = np.zeros(len(mask), bool)
    for start, stop in runs(mask):
        if stop - start >= shortest:
            kept[start:stop] = True
    return kept


def split(dropped: Mapping[str, NDArray[np.bool_]], count: int, length: int) -> list[Part]:
    """Cut ``count`` frames into parts that cover them: dropped ones, subclips, and what is too short for one.

    Args:
        dropped: reason to (T,) bool.
        count: T.
        length: frames of a subclip.
    """
    parts: list[Part] = []
    for start, stop, reasons in good_and_bad(dropped, count):
        if reasons:
            parts.append(Part(start, stop, reasons))
            continue
        whole = start + (stop - start) // length * length
        parts += [Part(at, at + length, ()) for at in range(start, whole, length)]
        if whole < stop:
            parts.append(Part(whole, stop, ("too_short",)))
    return parts


def good_and_bad(dropped: Mapping[str, NDArray[np.bool_]], count: int) -> list[tuple[int, int, tuple[str, ...]]]:
    """Runs of frames that are dropped for the same reasons, as (start, stop, reasons); no reasons: good frames."""
    labels = [tuple(reason for reason, mask in dropped.items() if mask[at]) for at in range(count)]
    found = []
    for reasons, group in itertools.groupby(range(count), key=labels.__getitem__):
        frames = list(group)
        found.append((frames[0], frames[-1] + 1, reasons))
    return found
