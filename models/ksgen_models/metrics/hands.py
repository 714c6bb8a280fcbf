"""Hands of a generated clip against hands of a real one: how often found, how far off, and where they move."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ksgen_models.metrics.time_warping import cheapest_ways
from ksgen_models.rom import mask_iou
from ksgen_models.types import HandTrack

MOST_JOINTS = 11
"""So many of a true hand's 21 must be in the picture for it to count."""


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
    for drawn, true in zip(measured_keypoints(generated), true_keypoints, strict=True):
        truths = _hands(true, scale)
        errors += [_distance(hand, truths) for hand in _hands(drawn, scale) if truths]
    return float(np.mean(errors)) if errors else float("nan")


def aligned_keypoint_error(generated: HandTrack, true_keypoints: NDArray[np.float32], aspect: float = 1.0) -> float:
    """Hand error after time alignment, in palm lengths: the same motion, sooner or later, is the same motion.

    Both clips are cut down to their frames with a hand, and dynamic time warping pairs these in order, every frame with
    at least one of the other clip, so that the mean error of the pairs on the way is weighed least. A pair's error is
    as in `keypoint_error`. A true hand counts where at least 11 of its 21 joints are in the picture.

    Args:
        generated: hand track of the generated clip.
        true_keypoints: (T, 2, 21, 2 or more), x and y normalised, NaN where a hand is absent.
        aspect: width of the picture over its height.

    Returns:
        Mean over the pairs; NaN where either clip has no frame with a hand.
    """
    scale = np.array([aspect, 1.0])
    drawn = [_hands(frame, scale) for frame in measured_keypoints(generated)]
    true = [[hand for hand in _hands(frame, scale) if _in_picture(hand / scale)] for frame in true_keypoints]
    drawn, true = ([hands for hands in clip if hands] for clip in (drawn, true))
    if not drawn or not true:
        return float("nan")
    errors = np.array([[np.mean([_distance(hand, truths) for hand in hands]) for truths in true] for hands in drawn])
    pairs = cheapest_ways(errors[None], *np.array(errors.shape)[:, None])[0]
    return float(errors[pairs].mean())


def _hands(frame: NDArray[np.floating], scale: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The hands (21, 2) that are there in a frame (2, 21, 2 or more)."""
    return [hand[:, :2] * scale for hand in frame if np.isfinite(hand[:, :2]).all()]


def _in_picture(hand: NDArray[np.float64]) -> bool:
    return int(((hand >= 0) & (hand <= 1)).all(-1).sum()) >= MOST_JOINTS


def _distance(hand: NDArray[np.float64], truths: list[NDArray[np.float64]]) -> float:
    """Root mean square distance of the joints to those of the nearer true hand, in its palm lengths."""
    return float(
        min(np.sqrt(np.square(hand - true).sum(-1).mean()) / np.linalg.norm(true[9] - true[0]) for true in truths)
    )


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
