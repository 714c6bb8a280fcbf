"""Between the camera's frame and a model's picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksgen_models.hub.fit import Fit, picture_size, resample
from ksgen_models.hub.guidance import composite, free_region
from ksgen_models.interfaces import RegionPrediction

sides = st.integers(32, 300)


def ramp(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([255 * rows / height, 255 * columns / width, np.full_like(rows, 90)], -1).astype(np.uint8)


@given(sides, sides, st.integers(2, 12), st.integers(2, 12), st.sampled_from(["letterbox", "crop"]))
def test_a_frame_comes_back_where_it_was(height: int, width: int, rows: int, columns: int, mode: str) -> None:
    fit = Fit((height, width), (16 * rows, 16 * columns), mode)
    frame = ramp(height, width)
    picture = fit.to_picture(frame)
    assert picture.shape == (*fit.picture, 3)
    # The model draws the negative: it must lie where the frame was, and only there.
    back = fit.from_picture(np.stack([255 - picture, 255 - picture]), frame)
    assert back.shape == (2, height, width, 3)
    seen = fit.covered()
    assert mode == "crop" or seen.all()
    assert (back[:, ~seen] == frame[~seen]).all()
    # A ramp survives resampling up to what falls between two pixels of the smaller picture.
    coarse = max(height / fit.picture[0], width / fit.picture[1], 1.0)
    error = np.abs(back[0].astype(int) - (255 - frame.astype(int)))[seen]
    assert np.median(error) <= 8 + 300 * coarse / min(height, width)


@given(sides, sides, st.sampled_from(["letterbox", "crop"]))
def test_a_mask_covers_in_the_picture_what_it_covered_in_the_frame(height: int, width: int, mode: str) -> None:
    fit = Fit((height, width), (64, 96), mode)
    assert fit.mask_to_picture(np.ones((height, width), bool)).all()
    assert not fit.mask_to_picture(np.zeros((height, width), bool)).any()


@given(sides, sides, st.sampled_from([8, 16, 32, 64]))
def test_the_size_drawn_has_the_frames_shape_and_the_trained_pixels(height: int, width: int, multiple: int) -> None:
    rows, columns = picture_size((height, width), (480, 832), multiple, fixed=False)
    assert rows % multiple == columns % multiple == 0
    assert rows * columns == pytest.approx(480 * 832, rel=0.5)
    assert picture_size((height, width), (480, 720), multiple, fixed=True) == (480, 720)


def test_frames_are_taken_evenly_from_the_first_to_the_last() -> None:
    taken = resample(np.arange(81)[:, None].astype(np.uint8), 16)[:, 0]
    assert taken[0] == 0
    assert taken[-1] == 80
    assert set(np.diff(taken.astype(int))) <= {5, 6}
    assert len(resample(np.zeros((3, 1), np.uint8), 16)) == 16


def test_outside_the_region_pixels_are_the_frames_and_inside_they_fade_in() -> None:
    change = np.zeros((40, 40), np.float32)
    change[10:30, 10:30] = 0.9
    change[5, 5] = 0.2
    free = free_region(RegionPrediction(change, change), threshold=0.5, dilation=0.05)
    assert free[8, 20]
    assert not free[5, 5]
    clip, image = np.full((2, 40, 40, 3), 200, np.uint8), np.full((40, 40, 3), 100, np.uint8)
    mixed = composite(clip, image, free, feather=3)
    assert (mixed[:, ~free] == 100).all()
    assert (mixed[:, 20, 20] == 200).all()
    assert 100 < mixed[0, 8, 20, 0] < 200
    assert (composite(clip, image, np.ones((40, 40), bool), feather=3) == clip).all()
