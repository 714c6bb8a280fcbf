"""Makes videos with known faults, to measure curation against: scenes one after the other, each with one fault or none.

Clean scenes are demonstrations of the Workbench, or any other frames with hands in them. Faults are made from them:

* a cut wherever one scene follows another,
* a freeze: a frame stays,
* shake: the camera jumps about,
* blur: out of focus,
* a missing hand: the camera pans over the scene while nobody is there,
* text: a caption over the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
FAULTS: tuple[str, ...] = ("still", "shaky", "blurred", "no_hand", "text")
"""What can be planted in a scene, by the reason that curation should give."""
_CAPTIONS = ("Step 1: mix it well", "SUBSCRIBE NOW", "How to do it right", "3 tbsp of sugar", "www.example.org")


@dataclass(frozen=True)
class Scene:
    """Frames of one camera.

    Attributes:
        clip: (T, H, W, 3) uint8, with hands.
        empty: (H, W, 3) uint8, the same view without hands.
    """

    clip: Frames
    empty: Frames


@dataclass(frozen=True)
class Fault:
    """What is wrong with frames [start, stop) of a made video; a cut is the first frame of the new scene.

    Attributes:
        kind: a reason of `ksgen_export.curation.parts.REASONS`.
        start, stop: frames.
    """

    kind: str
    start: int
    stop: int


@dataclass(frozen=True)
class MadeVideo:
    """A made video.

    Attributes:
        frames: (T, H, W, 3) uint8.
        faults: by time.
    """

    frames: Frames
    faults: tuple[Fault, ...]


def make_video(scenes: Sequence[Scene], faults: Sequence[str], random: np.random.Generator) -> MadeVideo:
    """Join scenes of one size, each with its fault; ``""`` leaves a scene as it is.

    A fault takes a whole scene, but a freeze: that is put into the scene at a random place.
    """
    pieces: list[Frames] = []
    planted: list[Fault] = []
    at = 0
    for scene, kind in zip(scenes, faults, strict=True):
        piece, start, stop = _spoil(scene, kind, random)
        if at:
            planted.append(Fault("scene_cut", at, at + 1))
        if kind:
            planted.append(Fault(kind, at + start, at + stop))
        pieces.append(piece)
        at += len(piece)
    return MadeVideo(np.concatenate(pieces), tuple(planted))


def _spoil(scene: Scene, kind: str, random: np.random.Generator) -> tuple[Frames, int, int]:
    """The scene's frames with a fault, and which of them have it."""
    clip = scene.clip
    if kind == "still":
        length, at = int(random.integers(14, 30)), int(random.integers(3, len(clip) - 3))
        return np.concatenate([clip[:at], clip[at - 1 : at].repeat(length, 0), clip[at:]]), at, at + length
    if kind == "shaky":
        return shake(clip, random.uniform(0.015, 0.03), random), 0, len(clip)
    if kind == "blurred":
        return blur(clip, random.uniform(0.014, 0.03)), 0, len(clip)
    if kind == "no_hand":
        length = int(random.integers(24, 48))
        return pan(scene.empty, length, random), 0, length
    if kind == "text":
        return caption(clip, str(random.choice(_CAPTIONS)), random), 0, len(clip)
    return clip, 0, 0


def shake(clip: Frames, strength: float, random: np.random.Generator) -> Frames:
    """A camera that jumps about: normal shifts with a deviation of ``strength`` image widths, cut from the picture."""
    height, width = clip.shape[1:3]
    zoom = 1.16
    shaken = []
    for frame in clip:
        shift = random.normal(0, strength * width, 2) - (zoom - 1) / 2 * np.array([width, height])
        view = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]], np.float32)
        shaken.append(cv2.warpAffine(frame, view, (width, height), borderMode=cv2.BORDER_REFLECT))
    return np.stack(shaken)


def blur(clip: Frames, strength: float) -> Frames:
    """Out of focus: a Gaussian with a deviation of ``strength`` image widths."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), strength * clip.shape[2]) for frame in clip])


def pan(picture: Frames, length: int, random: np.random.Generator) -> Frames:
    """``length`` frames of an even pan over a picture (H, W, 3), mirrored at its edges."""
    height, width = picture.shape[:2]
    wide = cv2.copyMakeBorder(picture, 0, 0, width, width, cv2.BORDER_REFLECT)
    start, speed = random.uniform(0.6, 0.8) * width, random.uniform(0.008, 0.02) * width * random.choice([-1, 1])
    places = np.clip(start + speed * np.arange(length) + (speed < 0) * 0.4 * width, 0, 2 * width - 1)
    views = []
    for place in places:
        view = np.array([[1, 0, -place], [0, 1, 0]], np.float32)
        views.append(cv2.warpAffine(wide, view, (width, height), flags=cv2.INTER_CUBIC))
    return np.stack(views)


def caption(clip: Frames, text: str, random: np.random.Generator) -> Frames:
    """White letters with a dark rim in the lower or upper quarter of every frame."""
    height, width = clip.shape[1:3]
    scale = 1.0
    (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 2)
    scale *= random.uniform(0.6, 0.9) * width / wide
    thick = max(1, round(1.6 * scale))
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, thick)
    place = ((width - wide) // 2, round(random.choice([0.12, 0.92]) * height) + tall // 2)
    mask = np.zeros((height, width), np.uint8)
    cv2.putText(mask, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, thick, cv2.LINE_AA)
    rim = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    letters, around = mask[..., None] / 255, rim[..., None] / 255
    drawn = (clip * (1 - around) + 255 * letters * around).round().astype(np.uint8)
    return drawn
