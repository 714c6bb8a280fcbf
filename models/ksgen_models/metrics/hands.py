"""Hands of a generated clip against hands of a real one: how often found, how far off, and where they move."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ksgen_models.rom import mask_iou
from ksgen_models.types import HandTrack


def detection_rate(track: HandTrack) -> float:
    """Share of the frames after the first in which a hand was measured (not interpolated), in [0, 1].

    Frame 0 is the key-step image, which both the generated and the true clip share.
    """
    measured = np.any(track.valid & ~track.interpolated, axis=1)
    return float(measured[1:].mean())


def keypoint_error(generated: HandTrack, true_keypoints: NDArray[np.float32], aspect: float = 1.0) -> float:
    """Hand error without time alignment, in palm lengths (wrist to middle knuckle of the true hand).

    IVG's hand structure error (§4.1, Eq. 2) as a root of the mean square, in units that do not hang on the size of the
    picture. Each frame's generated hand is compared with the nearer of the true hands; NaN without a pair.

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


def measured_keypoints(track: HandTrack) -> NDArray[np.float32]:
    """(T, 2, 21, 3) keypoints of the hands that were measured; NaN where absent or interpolated."""
    measured = track.valid & ~track.interpolated
    return np.where(measured[..., None, None], track.keypoints, np.float32(np.nan)).astype(np.float32)


def hand_structure_error(generated: NDArray[np.floating], real: NDArray[np.floating]) -> float:
    """HS-Err: IVG Eq. 2 as a metric (§4.1), in squared units of the picture's sides.

    The mean over the frames in which the real clip shows a hand of the mean over that frame's joints of the squared
    distance between generated and real joint. Joints that the generated clip lacks count as lying at (0, 0), as the
    paper has it. Which generated hand stands for which real one is chosen so that the sum is least: left and right
    are often confused in single frames, and the paper does not say.

    Args:
        generated, real: (T, 2, 21, 2 or more), x and y normalised to [0, 1]; NaN where a hand is absent.

    Returns:
        A value ≥ 0, less is better; NaN where the real clip shows no hand.
    """
    errors = []
    for drawn, true in zip(generated[..., :2], real[..., :2], strict=True):
        truths = [hand for hand in true if np.isfinite(hand).all()]
        if truths:
            hands = [hand if np.isfinite(hand).all() else np.zeros_like(hand) for hand in drawn]
            errors.append(min(_cost(order, truths) for order in itertools.permutations(hands)))
    return float(np.mean(errors)) if errors else float("nan")


def _cost(hands: tuple[NDArray[np.floating], ...], truths: list[NDArray[np.floating]]) -> float:
    pairs = zip(hands, truths, strict=False)
    return float(np.mean([np.square(hand - true).sum(-1).mean() for hand, true in pairs]))


def region_agreement(generated: NDArray[np.bool_], real: NDArray[np.bool_]) -> float:
    """IoU of two regions of motion (H, W), in [0, 1]; NaN where the real clip has none. Its mean is the RoM mIoU."""
    return mask_iou(generated, real) if real.any() else float("nan")
