"""The region of motion: it holds the hands, grows with time, and takes what is missing calmly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ksgen_models.errors import InvalidInput
from ksgen_models.rom import clean_mask, dilate_mask, hull_mask, mask_iou, observed_region, region_of_keypoints
from ksgen_models.types import HandTrack

HEIGHT, WIDTH = 24, 32
inside = st.floats(0, 1, width=32)
anywhere = st.floats(-1e6, 1e6, width=32) | st.just(float("nan")) | st.just(float("inf"))
masks = hnp.arrays(bool, (HEIGHT, WIDTH))


def keypoints_of(elements: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (3, 2, 21, 3), elements=elements)


def track_of(keypoints: np.ndarray, valid: np.ndarray) -> HandTrack:
    confidence = valid.astype(np.float32)
    return HandTrack(keypoints, np.zeros_like(keypoints), confidence, valid, np.zeros_like(valid))


@settings(max_examples=60, deadline=None)
@given(keypoints_of(inside))
def test_the_hull_holds_every_keypoint(keypoints: np.ndarray) -> None:
    per_frame, union = region_of_keypoints(keypoints, HEIGHT, WIDTH)
    for frame, hands in zip(per_frame, keypoints, strict=True):
        points = hands[..., :2].reshape(-1, 2).astype(np.float64)
        x = np.minimum((points[:, 0] * WIDTH).astype(int), WIDTH - 1)
        y = np.minimum((points[:, 1] * HEIGHT).astype(int), HEIGHT - 1)
        assert frame[y, x].all()
    assert (union == per_frame.any(axis=0)).all()


@settings(max_examples=60, deadline=None)
@given(keypoints_of(inside), st.integers(1, 3))
def test_more_frames_never_shrink_the_union(keypoints: np.ndarray, frames: int) -> None:
    part, whole = (region_of_keypoints(keypoints[:count], HEIGHT, WIDTH)[1] for count in (frames, 3))
    assert not (part & ~whole).any()


@settings(max_examples=60, deadline=None)
@given(keypoints_of(anywhere), hnp.arrays(bool, (3, 2)))
def test_absent_and_absurd_keypoints_do_no_harm(keypoints: np.ndarray, valid: np.ndarray) -> None:
    per_frame, union = observed_region(track_of(keypoints, valid), HEIGHT, WIDTH)
    assert per_frame.shape == (3, HEIGHT, WIDTH)
    assert per_frame.dtype == union.dtype == bool
    assert not per_frame[~valid.any(axis=1)].any()


def test_a_square_of_keypoints_is_filled_and_two_hands_are_not_joined() -> None:
    corners = np.full((1, 2, 21, 3), np.nan, np.float32)
    corners[0, 0, :4, :2] = [(0.1, 0.1), (0.3, 0.1), (0.3, 0.4), (0.1, 0.4)]
    corners[0, 1, :4, :2] = [(0.7, 0.6), (0.9, 0.6), (0.9, 0.9), (0.7, 0.9)]
    _, union = region_of_keypoints(corners, 100, 100)
    assert union[25, 20]
    assert union[75, 80]
    assert not union[50, 50]
    assert union.sum() == pytest.approx(2 * 20 * 30, rel=0.1)


def test_fewer_than_three_points_make_no_region() -> None:
    assert not hull_mask(np.array([[0.2, 0.2], [0.8, 0.8]]), 10, 10).any()
    with pytest.raises(InvalidInput):
        region_of_keypoints(np.zeros((1, 2, 21, 3)), 0, 10)


def test_cleaning_drops_specks_and_fills_cracks() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:40, 10:40] = True
    mask[25, 10:40] = False
    mask[50:52, 50:52] = True
    cleaned = clean_mask(mask, min_area=50, radius=2)
    assert cleaned[25, 12:38].all()
    assert not cleaned[48:, 48:].any()
    assert mask_iou(cleaned, mask) > 0.9


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 50))
def test_without_morphology_cleaning_only_takes_away(mask: np.ndarray, area: int) -> None:
    cleaned = clean_mask(mask, min_area=area, radius=0)
    assert not (cleaned & ~mask).any()
    assert (clean_mask(cleaned, min_area=area, radius=0) == cleaned).all()


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 4))
def test_dilating_only_adds(mask: np.ndarray, radius: int) -> None:
    grown = dilate_mask(mask, radius)
    assert not (mask & ~grown).any()
    assert not (grown & ~dilate_mask(mask, radius + 1)).any()


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_overlap_is_a_fraction_and_takes_no_sides(first: np.ndarray, second: np.ndarray) -> None:
    assert mask_iou(first, first) == 1
    assert 0 <= mask_iou(first, second) == mask_iou(second, first) <= 1


def test_masks_of_two_sizes_are_not_compared() -> None:
    with pytest.raises(InvalidInput, match=r"\(2, 2\)"):
        mask_iou(np.zeros((2, 2), bool), np.zeros((3, 2), bool))
