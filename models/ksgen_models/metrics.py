"""Figures that compare generated key steps with true ones. Plain functions over arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.types import HandTrack


def detection_rate(track: HandTrack) -> float:
    """Share of the frames after the first in which a hand was measured (not interpolated), in [0, 1].

    Frame 0 is the key-step image, which both the generated and the true clip share.
    """
    measured = np.any(track.valid & ~track.interpolated, axis=1)
    return float(measured[1:].mean())


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


def keypoint_error(generated: HandTrack, true_keypoints: NDArray[np.float32], aspect: float = 1.0) -> float:
    """HS-Err without time alignment, in palm lengths (wrist to middle knuckle of the true hand); NaN without a pair.

    IVG's hand structure error (§4.1, Eq. 2) as a root of the mean square, in units that do not hang on the size of the
    picture. Each frame's generated hand is compared with the nearer of the true hands.

    Args:
        generated: hand track of the generated clip.
        true_keypoints: (T, 2, 21, 3), x and y normalised.
        aspect: width of the picture over its height.
    """
    scale = np.array([aspect, 1.0])
    errors = []
    for time in range(len(true_keypoints)):
        truths = [hand[:, :2] * scale for hand in true_keypoints[time] if np.isfinite(hand).all()]
        for slot in np.nonzero(generated.valid[time] & ~generated.interpolated[time])[0]:
            drawn = generated.keypoints[time, slot, :, :2] * scale
            distances = [
                np.sqrt(np.square(drawn - truth).sum(-1).mean()) / np.linalg.norm(truth[9] - truth[0])
                for truth in truths
            ]
            if distances:
                errors.append(min(distances))
    return float(np.mean(errors)) if errors else float("nan")


def most_changed(before: NDArray[np.uint8], after: NDArray[np.uint8], masks: dict[str, NDArray[np.bool_]]) -> str:
    """Name of the object whose own pixels changed most between two pictures (H, W, 3).

    Args:
        before: a picture in which every mask (H, W) shows where an object is.
        after: the later picture.
        masks: object name → its pixels in ``before``; empty masks are passed over.
    """
    difference = np.abs(before.astype(np.float64) - after).mean(-1)
    changes = {name: float(difference[mask].mean()) for name, mask in masks.items() if mask.any()}
    return max(changes, key=lambda name: changes[name])
