"""All filters over one stretch of video, the cheap ones first: hands are looked for only in what the others left."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_export.curation.filters.blur import measure_blur
from ksgen_export.curation.filters.cuts import find_cuts, histogram_distances
from ksgen_export.curation.filters.motion import measure_motion
from ksgen_export.curation.filters.text import measure_text
from ksgen_export.curation.frames import Stretch
from ksgen_export.curation.parts import Part, good_and_bad, long_runs, split
from ksgen_export.curation.thresholds import Thresholds
from ksgen_models.interfaces import Tracker
from ksgen_models.types import HandTrack

FIGURES = ("cut", "motion", "shake", "blur", "text", "hand")
"""Names of the figures; each is one number a frame."""
CutProbabilities = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Tools:
    """What measuring needs that costs time to load.

    Attributes:
        tracker: finds the hands.
        cut_probabilities: TransNetV2's, over thumbnails; None takes colour histograms.
    """

    tracker: Tracker
    cut_probabilities: CutProbabilities | None = None


@dataclass(frozen=True)
class Measured:
    """A stretch, decided.

    Attributes:
        parts: cover the stretch in order.
        figures: (T,) float32 each; NaN for frames that a figure was not measured for.
        tracks: the hand track of every subclip, by its first frame.
    """

    parts: tuple[Part, ...]
    figures: dict[str, NDArray[np.float32]]
    tracks: dict[int, HandTrack]


@contextmanager
def load_tools(*, transnet: bool) -> Iterator[Tools]:
    """Load the hand tracker and, if asked for, TransNetV2.

    Raises:
        WeightsMissing: an asset is not on this machine.
    """
    from ksgen_models.hands.tracker import HandTracker

    probabilities: CutProbabilities | None = None
    if transnet:
        from functools import partial

        from ksgen_export.curation.filters.transnet import cut_probabilities, load_transnet

        probabilities = partial(cut_probabilities, load_transnet())
    with HandTracker(workers=1) as tracker:
        yield Tools(tracker, probabilities)


def measure(stretch: Stretch, tools: Tools, thresholds: Thresholds) -> Measured:
    """Run every filter over a stretch and decide on its frames."""
    count, limits = len(stretch.frames), thresholds
    figures = {name: np.full(count, np.nan, np.float32) for name in FIGURES}
    figures["cut"], cuts = _find_cuts(stretch, tools, limits)
    # Flow and standing text are measured within shots: across a cut they mean nothing.
    edges = [0, *np.flatnonzero(cuts).tolist(), count]
    for start, stop in itertools.pairwise(edges):
        shot = stretch.frames[start:stop]
        if len(shot):
            motion = measure_motion(shot)
            figures["motion"][start:stop], figures["shake"][start:stop] = motion.amount, motion.shake
            figures["text"][start:stop] = measure_text(shot)
    figures["blur"] = measure_blur(stretch.frames)
    dropped = {
        # The frame before a cut goes too: compression and interlacing blend it with the one after.
        "scene_cut": cuts | np.append(cuts[1:], False),
        "still": long_runs(figures["motion"] < limits.still_motion, limits.run(limits.still_seconds)),
        "shaky": long_runs(figures["shake"] > limits.shake, limits.run(limits.shake_seconds)),
        "blurred": long_runs(figures["blur"] > limits.blur, limits.run(limits.blur_seconds)),
        "text": long_runs(figures["text"] > limits.text, limits.run(limits.text_seconds)),
        "no_hand": np.zeros(count, bool),
    }
    tracks = _look_for_hands(stretch, tools.tracker, limits, figures, dropped)
    parts = [
        Part(part.start, part.stop, _without_enough_hands(part, figures["hand"], limits))
        for part in split(dropped, count, limits.frames)
    ]
    whole = {part.start: part.stop for part in parts if not part.reasons}
    cut_out = {start: _window(tracks, start, stop) for start, stop in whole.items()}
    return Measured(tuple(parts), figures, cut_out)


def _find_cuts(stretch: Stretch, tools: Tools, limits: Thresholds) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The figure of each frame and whether it is the first of a new scene."""
    if tools.cut_probabilities is None:
        distances = histogram_distances(stretch.frames)
        return distances, find_cuts(distances, limits.cut_distance, limits.cut_contrast)
    single = tools.cut_probabilities(stretch.thumbnails)
    # The network marks the last frame of the old scene. A sampled frame stands for all frames since the one before it.
    shifted = np.concatenate([[0.0], single[:-1]]).astype(np.float32)
    starts = np.concatenate([[0], stretch.places[:-1] + 1])
    figure = np.array(
        [shifted[start : stop + 1].max() for start, stop in zip(starts, stretch.places, strict=True)], np.float32
    )
    figure[0] = 0.0
    return figure, figure >= limits.cut_probability


def _look_for_hands(
    stretch: Stretch,
    tracker: Tracker,
    limits: Thresholds,
    figures: dict[str, NDArray[np.float32]],
    dropped: dict[str, NDArray[np.bool_]],
) -> list[tuple[int, int, HandTrack]]:
    """Track hands through what is left and long enough; fills in the figure and the frames without a hand."""
    tracks = []
    for start, stop, reasons in good_and_bad(dropped, len(stretch.frames)):
        if reasons or stop - start < limits.frames:
            continue
        track = tracker.track(stretch.frames[start:stop], limits.fps)
        seen = np.asarray(track.valid.any(axis=1))
        figures["hand"][start:stop] = seen
        dropped["no_hand"][start:stop] = long_runs(np.logical_not(seen), limits.run(limits.hand_seconds))
        tracks.append((start, stop, track))
    return tracks


def _without_enough_hands(part: Part, hand: NDArray[np.float32], limits: Thresholds) -> tuple[str, ...]:
    few = not part.reasons and float(hand[part.start : part.stop].mean()) < limits.hand_share
    return ("no_hand",) if few else part.reasons


def _window(tracks: list[tuple[int, int, HandTrack]], start: int, stop: int) -> HandTrack:
    first, _, track = next(entry for entry in tracks if entry[0] <= start and stop <= entry[1])
    cut = slice(start - first, stop - first)
    return HandTrack(
        track.keypoints[cut], track.world[cut], track.confidence[cut], track.valid[cut], track.interpolated[cut]
    )
