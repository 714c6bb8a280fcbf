"""The hand tracker against what one writes at first: one `HandLandmarker.detect` in image mode for every frame."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_launch.benchmarks.figures import MORE, PEER, Part, ratio
from ksgen_launch.benchmarks.rounds import Scale, grow, over, seconds, take_turns
from ksgen_models.assets import HAND_LANDMARKER, asset_path
from ksgen_models.hands.tracker import HandTracker
from ksgen_models.video_io import read_video

SCENE, SCENE_SEED = "KSGen/StackBlocks-v0", 1_000_003
FRAMES = (16, 32, 64, 128)
SIDES = (128, 256, 512, 1024)
_CLIP = 64  # frames of the clip that is compared and of those of other sizes


def measure(scale: Scale, video: Path | None = None) -> Part:
    """Run the part.

    Args:
        scale: how much.
        video: a file with hands, measured besides the simulated person's clips.

    Raises:
        WeightsMissing: the hand networks are not on this machine.
        InvalidClip: the video cannot be read.
    """
    clip, fps = simulated_clip(max(FRAMES))
    ratios, figures = [], {}
    subjects = {"simulated": (clip[:_CLIP], fps)} | ({"video": read_video(video)} if video else {})
    with HandTracker() as tracker:
        for name, (frames, rate) in subjects.items():
            found: dict[str, int] = {}

            def ours(frames: NDArray[np.uint8] = frames, rate: float = rate, found: dict[str, int] = found) -> float:
                began = time.perf_counter()
                found["tracker"] = int(tracker.track(frames, rate).valid.any(1).sum())
                return time.perf_counter() - began

            def theirs(frames: NDArray[np.uint8] = frames, found: dict[str, int] = found) -> float:
                taken, found["detect"] = image_mode(frames)
                return taken

            ours()
            turns = take_turns(scale.rounds, {"tracker": ours, "detect": theirs})
            words = "one `HandLandmarker.detect` a frame over the tracker"
            what = f"{words}, {_NAMES[name]} of {len(frames)} frames of {frames.shape[2]} × {frames.shape[1]} pixels"
            bar = 1.5 if name == "video" else None
            runs = over(turns["detect"], turns["tracker"])
            ratios.append(ratio(f"track/{name}", what, PEER, runs, better=MORE, bar=bar))
            figures[f"{_NAMES[name]}: frames a second"] = len(frames) / statistics.median(turns["tracker"])
            figures[f"{_NAMES[name]}: frames with a hand, tracker"] = found["tracker"]
            figures[f"{_NAMES[name]}: frames with a hand, one detect a frame"] = found["detect"]
        grown = [_frames(tracker, scale, clip, fps), _sides(tracker, scale, clip[:_CLIP], fps)]
    how = "`HandTracker.track` with its defaults, warm"
    return Part("track", how, (*ratios, *(one for _, one in grown)), figures, tuple(curve for curve, _ in grown))


_NAMES = {"simulated": "simulated clip", "video": "video"}


def simulated_clip(length: int) -> tuple[NDArray[np.uint8], float]:
    """The simulated person stacking blocks, forwards and backwards until there are (length, 256, 256, 3) frames."""
    from ksgen_envs.demonstrator import demonstrate

    demonstration = demonstrate(SCENE, SCENE_SEED)
    once = np.concatenate([step.clip for step in demonstration.steps])
    there_and_back = np.concatenate([once, once[::-1]])
    copies = -(-length // len(there_and_back))
    return np.concatenate([there_and_back] * copies)[:length], demonstration.fps


def image_mode(clip: NDArray[np.uint8]) -> tuple[float, int]:
    """Seconds of one `HandLandmarker.detect` a frame with MediaPipe's defaults, and the frames with a hand."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(asset_path(HAND_LANDMARKER))),
        running_mode=vision.RunningMode.IMAGE,
        num_hands=2,
    )
    found = 0
    with vision.HandLandmarker.create_from_options(options) as landmarker:
        landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=clip[0]))
        began = time.perf_counter()
        for frame in clip:
            result = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame)))
            found += bool(result.hand_landmarks)
        return time.perf_counter() - began, found


def _frames(tracker: HandTracker, scale: Scale, clip: NDArray[np.uint8], fps: float):
    def cost(length: int) -> float:
        return seconds(lambda: tracker.track(clip[:length], fps))

    return grow(scale, "track-frames", "track hands", "frames", "seconds", FRAMES, cost)


def _sides(tracker: HandTracker, scale: Scale, clip: NDArray[np.uint8], fps: float):
    import cv2

    def resized(side: int) -> NDArray[np.uint8]:
        frames = [cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC) for frame in clip]
        return np.stack(frames).astype(np.uint8, copy=False)

    clips = {side: resized(side) for side in SIDES}

    def cost(side: int) -> float:
        return seconds(lambda: tracker.track(clips[side], fps))

    title = f"track hands through {len(clip)} frames"
    return grow(scale, "track-size", title, "pixels, side of the frame", "seconds", SIDES, cost)
