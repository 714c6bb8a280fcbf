from __future__ import annotations

import cv2
import numpy as np
import pytest

from ksgen_models.errors import InvalidClip
from ksgen_models.metrics import (
    background_drift,
    detection_rate,
    hand_structure_error,
    keypoint_error,
    motion_distance,
    nearest_outcome,
    outside_psnr,
)
from ksgen_models.metrics.hands import region_agreement
from ksgen_models.metrics.motion import flow_distance
from ksgen_models.rom import mask_iou
from ksgen_models.types import HandTrack


def _track(keypoints: np.ndarray, interpolated: np.ndarray | None = None) -> HandTrack:
    valid = np.isfinite(keypoints[..., 0]).all(-1)
    return HandTrack(
        keypoints=keypoints,
        world=keypoints,
        confidence=valid.astype(np.float32),
        valid=valid,
        interpolated=np.zeros_like(valid) if interpolated is None else interpolated,
    )


def _hand() -> np.ndarray:
    hand = np.zeros((21, 3), np.float32)
    hand[:, :2] = np.random.default_rng(0).uniform(0.4, 0.6, (21, 2))
    hand[0, :2], hand[9, :2] = [0.5, 0.6], [0.5, 0.5]  # palm length 0.1
    return hand


def test_detection_rate_counts_measured_frames_after_the_first():
    keypoints = np.full((5, 2, 21, 3), np.nan, np.float32)
    keypoints[0:3, 1] = _hand()
    interpolated = np.zeros((5, 2), bool)
    interpolated[2, 1] = True
    assert detection_rate(_track(keypoints, interpolated)) == pytest.approx(1 / 4)


def test_keypoint_error_is_in_palm_lengths_and_takes_the_nearer_hand():
    truth = np.full((1, 2, 21, 3), np.nan, np.float32)
    truth[0, 0], truth[0, 1] = _hand(), _hand() + 0.3
    drawn = np.full((1, 2, 21, 3), np.nan, np.float32)
    drawn[0, 1] = _hand() + np.array([0.03, 0.04, 0], np.float32)  # off by 0.05, half a palm
    assert keypoint_error(_track(drawn), truth) == pytest.approx(0.5, abs=1e-4)
    assert np.isnan(keypoint_error(_track(np.full_like(drawn, np.nan)), truth))


def test_mask_iou_by_hand():
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:2], second[1:3] = True, True
    assert mask_iou(first, second) == pytest.approx(1 / 3)
    assert mask_iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1.0


def test_outside_psnr_ignores_the_dilated_region():
    image = np.full((32, 32, 3), 100, np.uint8)
    clip = np.stack([image, image])
    region = np.zeros((32, 32), bool)
    region[10:20, 10:20] = True
    clip[1, 8:22, 8:22] = 0  # two pixels beyond the region, within the dilation of four
    assert outside_psnr(clip, image, region) == 99.0
    clip[1, 0, 0] = 110
    outside = (~region).sum() - 14**2 + 10**2  # a lower bound is enough: fewer pixels, larger error
    assert 30 < outside_psnr(clip, image, region) < 10 * np.log10(255**2 * 2 * outside / 100) + 3


def test_the_nearest_outcome_is_the_object_that_moved_and_not_the_one_it_covers():
    before = np.full((8, 8, 3), 50, np.uint8)
    before[:2, :2], before[6:, 6:] = [200, 0, 0], [0, 0, 200]
    red, blue = before.copy(), before.copy()
    red[:2, :2], red[6:, 6:] = 50, [200, 0, 0]  # the red one is put on the blue one
    blue[6:, 6:], blue[:2, 6:] = 50, [0, 0, 200]
    drawn = np.clip(red.astype(int) + np.random.default_rng(0).integers(-30, 30, red.shape), 0, 255).astype(np.uint8)
    assert nearest_outcome(before, drawn, {"blue": blue, "red": red}) == "red"
    assert nearest_outcome(before, before, {"blue": blue, "red": red}) is None
    assert nearest_outcome(before, drawn, {"same": before}) is None


def test_hs_err_by_hand() -> None:
    real = np.full((4, 2, 21, 3), np.nan, np.float32)
    drawn = real.copy()
    real[0, 0, :, :2], drawn[0, 0, :, :2] = 0.5, [0.8, 0.9]  # off by 0.3 and 0.4: 0.25
    real[1, 0, :, :2] = [0.6, 0.8]  # not found: at the origin, 0.36 + 0.64 = 1
    real[2, 0, :, :2], drawn[2, 1, :, :2] = 0.5, 0.5  # found, in the other slot: 0
    real[..., 2], drawn[..., 2] = (
        np.where(np.isfinite(real[..., 0]), 0, np.nan),
        np.where(np.isfinite(drawn[..., 0]), 0, np.nan),
    )
    drawn[3, 0] = 0.1  # no real hand in this frame: it does not count
    assert hand_structure_error(drawn, real) == pytest.approx((0.25 + 1 + 0) / 3)
    assert np.isnan(hand_structure_error(drawn[3:], real[3:]))


def test_hs_err_takes_the_mean_over_both_hands() -> None:
    real = np.zeros((1, 2, 21, 3), np.float32)
    real[0, 0, :, :2], real[0, 1, :, :2] = 0.2, 0.7
    drawn = real[:, ::-1].copy()  # left and right confused
    assert hand_structure_error(drawn, real) == 0
    drawn[0, 0, :, 0] += 0.1  # one of the two off by 0.1 in x
    assert hand_structure_error(drawn, real) == pytest.approx(0.01 / 2, rel=1e-5)


def test_rom_agreement_by_hand() -> None:
    real, drawn = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    real[:2], drawn[1:3] = True, True
    assert region_agreement(drawn, real) == pytest.approx(1 / 3)
    assert region_agreement(np.zeros((4, 4), bool), real) == 0
    assert np.isnan(region_agreement(drawn, np.zeros((4, 4), bool)))


def test_flow_distance_by_hand() -> None:
    still, moved = np.zeros((2, 30, 40, 2)), np.zeros((2, 30, 40, 2))
    moved[0] = [3, 4]  # five pixels in the first of two frames, on a diagonal of fifty
    assert flow_distance(moved, still) == pytest.approx(100 * 2.5 / 50)
    with pytest.raises(InvalidClip, match="shapes"):
        flow_distance(moved, still[:1])


def test_motion_distance_sees_how_far_a_texture_goes() -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8), (0, 0), 2)
    still = np.stack([texture] * 4)
    slow, fast = (np.stack([np.roll(texture, step * time, axis=1) for time in range(4)]) for step in (1, 3))
    assert motion_distance(slow, slow) == 0
    one, three = (motion_distance(clip, still) * np.hypot(96, 96) / 100 for clip in (slow, fast))
    assert one == pytest.approx(1, abs=0.25)
    assert three == pytest.approx(3, abs=0.75)


def test_background_drift_by_hand() -> None:
    real = np.full((3, 64, 64, 3), 90, np.uint8)
    real[1, 20:30, 20:30] = 200  # what moves
    drawn = real.copy()
    drawn[2, 20:30, 20:30] = 0  # inside: no drift
    motion = np.zeros((64, 64), bool)
    assert background_drift(drawn, real, motion) == 0
    drawn[1] += 6
    assert background_drift(drawn, real, motion) == pytest.approx(3)  # six levels in one of two frames
    assert np.isnan(background_drift(drawn, real, np.ones((64, 64), bool)))
