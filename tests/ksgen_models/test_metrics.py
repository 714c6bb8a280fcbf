from __future__ import annotations

import numpy as np
import pytest

from ksgen_models.metrics import detection_rate, keypoint_error, most_changed, outside_psnr
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


def test_most_changed_names_the_object_that_left_its_place():
    before = np.full((8, 8, 3), 50, np.uint8)
    red, blue = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    red[:2, :2], blue[5:, 5:] = True, True
    after = before.copy()
    after[red] = 200
    assert most_changed(before, after, {"red": red, "blue": blue, "hidden": np.zeros((8, 8), bool)}) == "red"
