"""Every number that decides what curation keeps, in one place, with where it comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from ksgen_models.demonstration import CLIP_FPS, CLIP_FRAMES
from ksgen_models.errors import InvalidInput


@dataclass(frozen=True)
class Thresholds:
    """What is kept. Lengths in the image are shares of its width unless said otherwise, times are in seconds.

    A filter gives one figure a frame; a run of frames beyond the threshold, at least as long as the filter's
    ``…_seconds``, is dropped. Figures marked *measured* lie between the worst clean and the mildest planted frames of
    `ksgen_export.curation.bench` and of the two hand–object videos of opencv-doc.

    Attributes:
        frames: of a subclip; what the models train on.
        fps: frames a second that videos are sampled at; a video with fewer is rejected.
        least_side: shorter side of the video in pixels: SVD (Blattmann et al. 2023) and Panda-70M (Chen et al. 2024)
            drop what is smaller than they train on; the hand tracker needs about this much.
        cut_distance: median over image blocks of the Bhattacharyya distance of neighbouring frames' colour histograms,
            in [0, 1]; *measured*.
        cut_contrast: and so many times the median distance around, so that a fast camera is no row of cuts
            (PySceneDetect's adaptive detector takes 3 of the mean).
        cut_probability: of TransNetV2, in [0, 1]; its authors' value (Souček & Lokoč 2020).
        still_motion: 99th percentile of the optical flow between frames; below it nothing moves; *measured*.
        still_seconds: a person may rest as long.
        shake: median, over about a second, of the change of the camera's velocity from frame to frame; *measured*.
            Head-mounted cameras (EPIC-KITCHENS, Ego4D) shake more: double it for them.
        shake_seconds: shortest run.
        blur: Crété-Roffet's perceptual blur in [0, 1] (SPIE 2007; scikit-image's ``blur_effect``); *measured*.
        blur_seconds: shortest run.
        text: share of the picture under standing lines of text, in [0, 1]; SVD drops clips with more than 7 % of text
            by an OCR network; the figure here counts the strokes' boxes alone, and stands lower; *measured*.
        text_seconds: shortest run.
        hand_seconds: a second without a hand is dropped.
        hand_share: least share of a subclip's frames in which a hand is found, in [0, 1]; hands come and go.
        duplicate_bits: frames are the same picture when their 256-bit perceptual hashes differ in so many bits or
            fewer (Zauner 2010 puts copies of a picture below one bit in ten).
        duplicate_share: a subclip is a near-duplicate when so many of its frames are in one other subclip or two
            neighbouring ones.
    """

    frames: int = CLIP_FRAMES
    fps: float = CLIP_FPS
    least_side: int = 240
    cut_distance: float = 0.42
    cut_contrast: float = 2.2
    cut_probability: float = 0.5
    still_motion: float = 0.0015
    still_seconds: float = 1.0
    shake: float = 0.02
    shake_seconds: float = 0.75
    blur: float = 0.60
    blur_seconds: float = 0.375
    text: float = 0.01
    text_seconds: float = 0.5
    hand_seconds: float = 1.0
    hand_share: float = 0.375
    duplicate_bits: int = 12
    duplicate_share: float = 0.75

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise InvalidInput(f"threshold {field.name} is {value!r}; give a number of 0 or more")
        if not 2 <= self.frames <= 1024:
            raise InvalidInput(f"a subclip has {self.frames} frames; give 2 to 1024")
        if not 0 < self.fps <= 240:
            raise InvalidInput(f"subclips have {self.fps} frames a second; give more than 0 and at most 240")

    def run(self, seconds: float) -> int:
        """Frames of the shortest run that is dropped."""
        return max(1, round(seconds * self.fps))

    def as_dict(self) -> dict[str, float]:
        """Names and values, for the record."""
        return asdict(self)
