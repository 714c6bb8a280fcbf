"""The hand tracker: both hands of a clip or video file, over MediaPipe's hand landmarker in video mode, on all cores.

A landmarker in video mode follows the hands it has, which costs one small network a hand, but looks for more with a
second network while it has fewer than it may. So the clip is surveyed first (every eighth frame, on its own), and
stretches in which one hand is seen are followed by a landmarker for one hand. The clip is cut into pieces that run
side by side, at places that do not depend on the machine: the same clip gives the same track everywhere. Each piece
starts a few frames early to be in step with the one before. Frames in which nothing was found are then tried
again: backwards in time from the next frame with a hand, and on an enlarged cut-out around where the hand was.
"""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ksgen_models.assets import HAND_LANDMARKER, asset_path
from ksgen_models.errors import InvalidClip
from ksgen_models.hands.identity import assign_identity, without_doubles
from ksgen_models.hands.landmarker import Detection, Landmarker
from ksgen_models.hands.smoothing import interpolate_gaps, runs, smooth_track
from ksgen_models.processes import core_count
from ksgen_models.types import HandTrack
from ksgen_models.video_io import check_clip, read_video

_T = TypeVar("_T")
_R = TypeVar("_R")
Found = list[list[Detection]]

_SURVEY_EVERY = 8
_WARM_UP = 2
_SHORTEST_PIECE, _LONGEST_PIECE = 8, 48
_SMALL_FRAME = 384  # frames with a shorter side below this are enlarged for the landmarker
_BACKWARDS_RUN_UP = 2
_WIDE = 1.3  # width over height from which a frame is searched in squares side by side
_PART = 0.65  # side of the parts of other frames, in shorter sides
_CUT_OUT = 2.5  # side of the cut-out that is searched again, in sizes of the hand
_CUT_OUT_PIXELS = 320


@dataclass(frozen=True)
class _Piece:
    """Frames [start, stop) to be followed by one landmarker for up to ``hands`` hands."""

    start: int
    stop: int
    hands: int


class HandTracker:
    """Tracks both hands through a clip; satisfies `ksgen_models.interfaces.Tracker`.

    Not for use by two threads at once. `close` it, or use it as a context manager.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        smooth: bool = False,
        longest_gap: int = 3,
        detection: float = 0.4,
        presence: float = 0.4,
        retry: bool = True,
        workers: int | None = None,
    ) -> None:
        """Find the networks and load the first of them.

        Args:
            bundle: a ``.task`` file of one's own; None takes the pinned asset.
            smooth: pass the keypoints through a One-Euro filter.
            longest_gap: gaps of at most so many frames are interpolated; 0 for none.
            detection: least score of the palm detector, in [0, 1].
            presence: least score that a hand is there, in [0, 1].
            retry: try frames without a hand again, backwards and enlarged.
            workers: threads; None takes one for each core this process may use.

        Raises:
            WeightsMissing: the networks are not on this machine.
            AssetError: they cannot be loaded.
        """
        self._bundle = asset_path(HAND_LANDMARKER, bundle)
        self._smooth, self._longest_gap, self._retry = smooth, longest_gap, retry
        self._detection, self._presence = detection, presence
        self._workers = workers or core_count()
        self._idle: dict[tuple[bool, int], queue.LifoQueue[Landmarker]] = {
            kind: queue.LifoQueue() for kind in ((False, 2), (True, 1), (True, 2))
        }
        self._idle[False, 2].put(self._open(video=False, hands=2))
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(self._workers, thread_name_prefix="hand-tracker")

    def track(self, clip: NDArray[np.uint8] | str | os.PathLike[str], fps: float | None = None) -> HandTrack:
        """Track both hands.

        Args:
            clip: (T, H, W, 3) uint8 RGB, not mirrored, or a video file.
            fps: frames a second; None takes the file's own, or 30 for an array.

        Returns:
            The track, T frames long. ``confidence`` is MediaPipe's handedness score, halved where interpolated.

        Raises:
            InvalidClip: the clip or file cannot be used, or ``fps`` is no positive number.
        """
        if self._pool is None:
            raise RuntimeError("this hand tracker is closed; make a new one")
        if isinstance(clip, str | os.PathLike):
            frames, own_fps = read_video(clip)
        else:
            frames, own_fps = check_clip(clip), 30.0
        fps = own_fps if fps is None else fps
        if not (np.isfinite(fps) and fps > 0):
            raise InvalidClip(f"frames a second must be a positive number, not {fps}")
        track = assign_identity(self._find(frames, max(1, round(1000 / fps))))
        track = interpolate_gaps(track, self._longest_gap)
        return smooth_track(track, fps) if self._smooth else track

    def close(self) -> None:
        """Free the networks and threads. Twice does no harm."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            for idle in self._idle.values():
                while not idle.empty():
                    idle.get().close()

    def __enter__(self) -> HandTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, clip: NDArray[np.uint8], step: int) -> Found:
        """Detections of every frame, without doubles; ``step`` is the milliseconds between two frames."""
        seen = self._survey(clip)
        pieces = plan_pieces(len(clip), {at: len(hands) for at, hands in seen.items()})
        followed = self._map(lambda piece: self._follow(clip, piece, step), pieces)
        found = [hands for piece in followed for hands in piece]
        for at, hands in seen.items():
            found[at] = found[at] + hands
        found = [without_doubles(hands)[:2] for hands in found]
        return self._try_again(clip, found, step) if self._retry else found

    def _survey(self, clip: NDArray[np.uint8]) -> dict[int, list[Detection]]:
        """Look at some frames, and where none of them shows a hand, at their parts, in which a hand is larger."""
        surveyed = survey_frames(len(clip))
        seen = self._map(lambda at: self._look(clip[at]), surveyed)
        if self._retry and not any(seen):
            seen = self._map(lambda at: self._look_at_parts(clip[at]), surveyed)
        return dict(zip(surveyed, seen, strict=True))

    def _look(self, frame: NDArray[np.uint8]) -> list[Detection]:
        with self._borrow() as landmarker:
            return landmarker.detect(enlarged(frame))

    def _look_at_parts(self, frame: NDArray[np.uint8]) -> list[Detection]:
        hands: list[Detection] = []
        with self._borrow() as landmarker:
            for place in parts_of(frame.shape[0], frame.shape[1]):
                left, top, width, height = place
                part = enlarged(frame[top : top + height, left : left + width])
                hands += [set_back(hand, place, frame.shape[:2]) for hand in landmarker.detect(part)]
        return without_doubles(hands)[:2]

    def _follow(self, clip: NDArray[np.uint8], piece: _Piece, step: int) -> Found:
        start = max(0, piece.start - _WARM_UP)
        with self._borrow(video=True, hands=piece.hands) as landmarker:
            found = [landmarker.detect(enlarged(frame), step) for frame in clip[start : piece.stop]]
        return found[piece.start - start :]

    def _try_again(self, clip: NDArray[np.uint8], found: Found, step: int) -> Found:
        gaps = runs(np.array([not hands for hands in found]))
        for (start, _), again in zip(
            gaps, self._map(lambda gap: self._go_back(clip, found, gap, step), gaps), strict=True
        ):
            found[start : start + len(again)] = again
        missing = [at for at, hands in enumerate(found) if not hands and _nearest(found, at)]
        for at, hands in zip(
            missing, self._map(lambda at: self._look_closely(clip[at], found, at), missing), strict=True
        ):
            found[at] = hands
        return found

    def _go_back(self, clip: NDArray[np.uint8], found: Found, gap: tuple[int, int], step: int) -> Found:
        """Follow the hand from the frame after a gap back into it, as far as it goes."""
        start, stop = gap
        again: Found = [[] for _ in range(stop - start)]
        if stop == len(found):
            return again
        with self._borrow(video=True, hands=1) as landmarker:
            for at in range(min(stop + _BACKWARDS_RUN_UP, len(found)) - 1, start - 1, -1):
                hands = landmarker.detect(enlarged(clip[at]), step)
                if at < stop:
                    if not hands:
                        break
                    again[at - start] = hands
        return again

    def _look_closely(self, frame: NDArray[np.uint8], found: Found, at: int) -> list[Detection]:
        """Look for each hand of the nearest frame in an enlarged cut-out around where it was there."""
        hands: list[Detection] = []
        for neighbour in _nearest(found, at):
            cut, place = cut_out(frame, neighbour)
            with self._borrow() as landmarker:
                hands += [set_back(hand, place, frame.shape[:2]) for hand in landmarker.detect(cut)]
        return without_doubles(hands)[:2]

    def _open(self, *, video: bool, hands: int) -> Landmarker:
        return Landmarker(
            self._bundle, video=video, max_hands=hands, detection=self._detection, presence=self._presence
        )

    @contextmanager
    def _borrow(self, *, video: bool = False, hands: int = 2) -> Iterator[Landmarker]:
        """A landmarker that remembers nothing of what it did before."""
        idle = self._idle[video, hands]
        try:
            landmarker = idle.get_nowait()
        except queue.Empty:
            landmarker = self._open(video=video, hands=hands)
        try:
            yield landmarker
        finally:
            landmarker.forget()
            idle.put(landmarker)

    def _map(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        assert self._pool is not None
        return list(self._pool.map(function, items))


def survey_frames(length: int) -> list[int]:
    """The frames of a clip that are looked at first: the first, the last, and evenly between."""
    count = max(1, -(-(length - 1) // _SURVEY_EVERY)) + 1
    return sorted({int(at) for at in np.linspace(0, length - 1, count).round()})


def plan_pieces(length: int, hands_seen: dict[int, int]) -> list[_Piece]:
    """Cut a clip into pieces, each with the number of hands to follow in it.

    Args:
        length: frames of the clip.
        hands_seen: number of hands found in each surveyed frame.

    Returns:
        Pieces that cover the clip in order. One hand is followed where the survey saw at most one hand for a while
        around and saw one at either end; elsewhere two are looked for.
    """
    surveyed = sorted(hands_seen)
    many = [hands_seen[at] > 1 for at in surveyed]
    wanted = np.full(length, 2)
    for index, (start, stop) in enumerate(itertools.pairwise(surveyed)):
        if not any(many[max(0, index - 1) : index + 3]) and max(hands_seen[start], hands_seen[stop]) == 1:
            wanted[start : stop + (stop == length - 1)] = 1
    pieces: list[_Piece] = []
    for hands in (1, 2):
        for start, stop in runs(wanted == hands):
            parts = max(-(-(stop - start) // _LONGEST_PIECE), min(2, (stop - start) // _SHORTEST_PIECE), 1)
            cuts = np.linspace(start, stop, parts + 1).round().astype(int)
            pieces += [_Piece(int(a), int(b), hands) for a, b in itertools.pairwise(cuts)]
    return sorted(pieces, key=lambda piece: piece.start)


def enlarged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame whose shorter side is small comes back twice as large (bilinear), any other as it is.

    Bilinear on purpose: it blurs the dither and compression of small clips, which sharper methods keep and the palm
    detector stumbles over.
    """
    import cv2

    if min(frame.shape[:2]) >= _SMALL_FRAME:
        return frame
    return cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def parts_of(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Overlapping squares of a frame, as (left, top, width, height): three along a wide one, five in a square one."""
    side = min(height, width)
    if max(height, width) >= _WIDE * side:
        ends = sorted({0, (max(height, width) - side) // 2, max(height, width) - side})
        return [(at, 0, side, side) if width > height else (0, at, side, side) for at in ends]
    side = max(2, round(side * _PART))
    right, bottom = width - side, height - side
    places = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]
    return [(left, top, side, side) for left, top in places]


def cut_out(frame: NDArray[np.uint8], hand: Detection) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """A square cut-out around where a hand was, enlarged, and its place (left, top, width, height) in pixels."""
    import cv2

    height, width = frame.shape[:2]
    corner, far = hand.keypoints[:, :2].min(axis=0), hand.keypoints[:, :2].max(axis=0)
    centre = (corner + far) / 2 * (width, height)
    side = max(8.0, _CUT_OUT * float(((far - corner) * (width, height)).max()))
    left, top = (int(x) for x in np.clip(np.floor(centre - side / 2), 0, (width - 2, height - 2)))
    right, bottom = (int(x) for x in np.clip(np.ceil(centre + side / 2), (left + 2, top + 2), (width, height)))
    cut = frame[top:bottom, left:right]
    scale = _CUT_OUT_PIXELS / max(cut.shape[:2])
    size = (max(2, round(cut.shape[1] * scale)), max(2, round(cut.shape[0] * scale)))
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(cut, size, interpolation=method), (left, top, right - left, bottom - top)  # type: ignore[return-value]


def set_back(hand: Detection, place: tuple[int, int, int, int], size: tuple[int, int]) -> Detection:
    """A detection in a cut-out at ``place`` in coordinates of the whole frame of ``size`` (height, width)."""
    left, top, width, height = place
    frame_height, frame_width = size
    scale = np.array([width / frame_width, height / frame_height, width / frame_width], np.float32)
    shift = np.array([left / frame_width, top / frame_height, 0], np.float32)
    return Detection(hand.keypoints * scale + shift, hand.world, hand.right)


def _nearest(found: Found, at: int, reach: int = 4) -> list[Detection]:
    """The hands of the nearest frame with any, the earlier of two equally near; none within ``reach``: empty."""
    for away in range(1, reach + 1):
        for neighbour in (at - away, at + away):
            if 0 <= neighbour < len(found) and found[neighbour]:
                return found[neighbour]
    return []
