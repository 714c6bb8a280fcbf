"""One `HandLandmarker` of MediaPipe (Tasks API), with its results as arrays and its logging kept off the terminal.

MediaPipe's C++ code writes to file descriptor 2 before any of its switches can be set. So the descriptor is pointed at
the null device while a landmarker is made and until the first hand has been seen: what other threads write to standard
error in these moments is lost with it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import AssetError


@dataclass(frozen=True)
class Detection:
    """One hand in one frame.

    Attributes:
        keypoints: (21, 3) float32, x and y normalised to the frame, z in frame widths relative to the wrist.
        world: (21, 3) float32 metres, relative to the hand's centre.
        right: probability in [0, 1] that it is the person's right hand, in an unmirrored picture.
    """

    keypoints: NDArray[np.float32]
    world: NDArray[np.float32]
    right: float

    @property
    def score(self) -> float:
        """How sure MediaPipe is of which hand it sees, in [0.5, 1]: the one score of a hand that its API gives."""
        return max(self.right, 1 - self.right)

    @property
    def centre(self) -> NDArray[np.float32]:
        """(2,) centre of the palm, normalised: the mean of the wrist and the four finger roots."""
        return self.keypoints[[0, 5, 9, 13, 17], :2].mean(axis=0)

    @property
    def size(self) -> float:
        """Diagonal of the keypoints' bounding box, normalised."""
        return float(np.linalg.norm(np.ptp(self.keypoints[:, :2], axis=0)))


class Landmarker:
    """MediaPipe's hand landmarker over RGB uint8 frames; `close` it, or use it as a context manager.

    In video mode it follows the hands from frame to frame and looks for new ones only while it has fewer than
    ``max_hands``; in image mode each frame stands alone.
    """

    def __init__(self, bundle: Path, *, video: bool, max_hands: int, detection: float, presence: float) -> None:
        """Load the networks.

        Args:
            bundle: the ``.task`` file.
            video: video mode, else image mode.
            max_hands: at most so many hands a frame.
            detection: least score of the palm detector, in [0, 1].
            presence: least score of the landmark network that there is a hand, and of tracking, in [0, 1].

        Raises:
            AssetError: the bundle cannot be loaded.
        """
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._image = mediapipe.Image
        self._format = mediapipe.ImageFormat.SRGB
        self._video = video
        self._time = 0
        self._following = False
        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        options = vision.HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(bundle)),
            running_mode=mode,
            num_hands=max_hands,
            min_hand_detection_confidence=detection,
            min_hand_presence_confidence=presence,
            min_tracking_confidence=presence,
        )
        with _quiet():
            try:
                self._landmarker: Any = vision.HandLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as exc:
                raise AssetError(
                    f"MediaPipe cannot load the hand networks in {bundle} ({exc}); fetch them anew"
                ) from exc

    def detect(self, frame: NDArray[np.uint8], milliseconds: int = 33) -> list[Detection]:
        """Find hands in (H, W, 3) uint8, which lies ``milliseconds`` after the frame before it."""
        global _seen_a_hand
        image = self._image(image_format=self._format, data=np.ascontiguousarray(frame))
        with contextlib.nullcontext() if _seen_a_hand else _quiet():
            if self._video:
                self._time += max(1, milliseconds)
                result = self._landmarker.detect_for_video(image, self._time)
            else:
                result = self._landmarker.detect(image)
        self._following = bool(result.hand_landmarks)
        _seen_a_hand = _seen_a_hand or self._following
        return [
            Detection(_points(landmarks), _points(world), _right(handedness[0]))
            for landmarks, world, handedness in zip(
                result.hand_landmarks, result.hand_world_landmarks, result.handedness, strict=True
            )
        ]

    def forget(self) -> None:
        """Let go of the hands being followed in video mode, so that the next frame is as good as a first one.

        A black frame holds no hand, so MediaPipe drops them; making a new landmarker would take four times as long.
        """
        while self._video and self._following:
            self.detect(np.zeros((32, 32, 3), np.uint8))

    def close(self) -> None:
        """Free the networks; MediaPipe's own destructor fails when the interpreter ends. Twice does no harm."""
        if self._landmarker is not None:
            with _quiet():
                self._landmarker.close()
            self._landmarker = None

    def __enter__(self) -> Landmarker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _points(landmarks: Any) -> NDArray[np.float32]:
    return np.array([(point.x, point.y, point.z) for point in landmarks], np.float32)


def _right(category: Any) -> float:
    # The Tasks API names the person's own side in an unmirrored picture (the older API named the mirrored one).
    return float(category.score if category.category_name == "Right" else 1 - category.score)


_seen_a_hand = False
_quiet_lock = threading.Lock()
_quiet_depth = 0
_saved_descriptor = -1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Point file descriptor 2 at the null device; threads may be inside together."""
    global _quiet_depth, _saved_descriptor
    with _quiet_lock:
        if _quiet_depth == 0:
            with contextlib.suppress(AttributeError, ValueError, OSError):
                sys.stderr.flush()
            _saved_descriptor = _redirect_stderr()
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _saved_descriptor >= 0:
                os.dup2(_saved_descriptor, 2)
                os.close(_saved_descriptor)


def _redirect_stderr() -> int:
    try:
        saved = os.dup(2)
    except OSError:  # a process without standard error has nothing to keep quiet
        return -1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    return saved
