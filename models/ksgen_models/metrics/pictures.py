"""What must not move: figures over pixels outside a region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ksgen_models.rom import dilate_mask

_CHANGED = 12  # of 255: smaller differences are noise of a codec, not motion
_MARGIN = 4  # pixels: soft shadows and resampling leak a little over a region's edge
_LEAST_BACKGROUND = 0.05  # share of the picture below which there is no background to speak of


def outside_psnr(
    clip: NDArray[np.uint8], image: NDArray[np.uint8], region: NDArray[np.bool_], *, dilation: int = 4
) -> float:
    """PSNR in dB of a clip (T, H, W, 3) against a still image (H, W, 3), outside a dilated region (H, W).

    Capped at 99 dB, which stands for «equal» (and for «nothing is outside»).
    """
    import cv2

    size = 2 * dilation + 1
    grown = cv2.dilate(region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    difference = clip[:, ~grown].astype(np.float64) - image[~grown]
    error = float(np.square(difference).mean()) if difference.size else 0.0
    return 99.0 if error == 0 else min(99.0, 10 * np.log10(255.0**2 / error))


def changed_region(clip: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W): pixels that depart from the clip's first frame by more than 12 levels in some channel and frame."""
    region = np.zeros(clip.shape[1:3], bool)
    for frame in clip[1:]:
        region |= np.abs(frame.astype(np.int16) - clip[0]).max(axis=-1) > _CHANGED
    return region


def background_drift(generated: NDArray[np.uint8], real: NDArray[np.uint8], motion: NDArray[np.bool_]) -> float:
    """How far the generated background departs from the first frame, where the real clip's stays.

    The background is what lies outside the real clip's changed region and region of motion, grown by 4 pixels. The
    figure is the mean absolute difference of the generated frames after the first to the generated first frame.

    Args:
        generated, real: (T, H, W, 3) uint8 of one height and width.
        motion: (H, W) bool, the real clip's region of motion.

    Returns:
        Levels in [0, 255], less is better; NaN where less than 5 % of the picture is background (a moving camera).
    """
    background = ~dilate_mask(changed_region(real) | motion, _MARGIN)
    if background.mean() < _LEAST_BACKGROUND or len(generated) < 2:
        return float("nan")
    still = generated[0][background].astype(np.float32)
    return float(np.mean([np.abs(frame[background] - still).mean() for frame in generated[1:]]))


def nearest_outcome(
    before: NDArray[np.uint8], after: NDArray[np.uint8], outcomes: Mapping[str, NDArray[np.uint8]]
) -> str | None:
    """Which of several possible outcomes explains best what changed between two pictures (H, W, 3).

    Judged by the mean absolute difference over the pixels that some outcome changes. That one thing covers another
    then speaks for the outcome in which it does, and not for the covered thing.

    Args:
        before: the picture that every outcome begins with.
        after: the later picture.
        outcomes: name → how ``before`` would look then, (H, W, 3) uint8.

    Returns:
        The name of the nearest outcome; None where ``before`` itself is as near: nothing happened.
    """
    touched = changed_region(np.stack([before, *outcomes.values()]))
    seen = after[touched].astype(np.float64)

    def distance(picture: NDArray[np.uint8]) -> float:
        return float(np.abs(picture[touched] - seen).mean()) if touched.any() else 0.0

    nearest = min(outcomes, key=lambda name: distance(outcomes[name]))
    return nearest if distance(outcomes[nearest]) < distance(before) else None
