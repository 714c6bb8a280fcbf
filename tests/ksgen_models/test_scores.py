"""What the scores say about clips whose answer is known."""

import numpy as np
import pytest

from ksgen_models.scores import (
    ALWAYS_SCORED,
    BACKGROUND_MARGIN,
    PSNR_CEILING,
    SCORE_NAMES,
    SCORES,
    background_psnr,
    bone_constancy,
    dilate,
    goal_agreement,
    hand_confidence,
    hand_rate,
    motion_inside,
    region_agreement,
    score_step,
)
from ksgen_models.types import HandTrack, RegionOfMotion

HEIGHT, WIDTH = 40, 50


def make_track(*, present, confidence=0.8, growth=0.0):
    """A right hand in the frames of ``present``, its world coordinates growing by ``growth`` a frame."""
    length = len(present)
    shape = np.random.default_rng(0).normal(0, 0.05, (21, 3))
    world = np.full((length, 2, 21, 3), np.nan, np.float32)
    valid = np.zeros((length, 2), bool)
    for time, there in enumerate(present):
        if there:
            world[time, 1] = shape * (1 + growth * time)
            valid[time, 1] = True
    return HandTrack(world.copy(), world, valid * np.float32(confidence), valid, np.zeros_like(valid))


def still_clip(frames=5, level=100):
    return np.full((frames, HEIGHT, WIDTH, 3), level, np.uint8)


def box(top, bottom, left, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_hand_rate_counts_measured_frames_only():
    track = make_track(present=[0, 1, 1, 0])
    assert hand_rate(track) == 0.5
    interpolated = track.interpolated.copy()
    interpolated[1, 1] = True
    assert hand_rate(HandTrack(track.keypoints, track.world, track.confidence, track.valid, interpolated)) == 0.25
    assert hand_rate(make_track(present=[0, 0])) == 0


def test_hand_confidence_is_the_mean_over_measured_hands():
    assert hand_confidence(make_track(present=[0, 1, 1], confidence=0.6)) == pytest.approx(0.6)
    assert hand_confidence(make_track(present=[0, 0])) == 0


def test_bones_that_keep_their_length_score_one_whatever_the_hand_does():
    track = make_track(present=[1] * 6)
    assert bone_constancy(track) == pytest.approx(1)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    turned = np.stack([track.world[0] @ np.linalg.matrix_power(turn, time) for time in range(6)])
    assert bone_constancy(HandTrack(turned, turned, track.confidence, track.valid, track.interpolated)) > 0.999


def test_bones_that_grow_score_less_the_more_they_grow():
    scores = [bone_constancy(make_track(present=[1] * 6, growth=growth)) for growth in (0, 0.05, 0.2)]
    assert scores[0] > scores[1] > scores[2] > 0
    assert bone_constancy(make_track(present=[0, 1, 0])) == 0  # one frame says nothing about constancy


def test_motion_inside_is_the_share_of_motion_in_the_region():
    clip = still_clip(2)
    clip[1, 10:14, 10:14] += 50
    clip[1, 30:34, 40:44] += 50
    assert motion_inside(clip, box(8, 16, 8, 16)) == pytest.approx(0.5)
    assert motion_inside(clip, box(0, HEIGHT, 0, WIDTH)) == 1
    assert motion_inside(clip, box(0, 0, 0, 0)) == 0
    assert motion_inside(clip, box(10, 14, 14 + BACKGROUND_MARGIN - 1, 20)) < 0.5


def test_a_clip_in_which_nothing_moves_shows_no_step():
    noise = np.random.default_rng(0).integers(0, 5, (5, HEIGHT, WIDTH, 3), np.uint8)
    assert motion_inside(still_clip() + noise, box(0, HEIGHT, 0, WIDTH)) == 0


def test_region_agreement_is_the_overlap():
    predicted = box(0, 10, 0, 10).astype(np.float32)
    assert region_agreement(predicted, box(0, 10, 0, 10)) == 1
    assert region_agreement(predicted, box(0, 10, 5, 15)) == pytest.approx(1 / 3)
    assert region_agreement(predicted, box(20, 30, 20, 30)) == 0
    assert region_agreement(predicted * 0.4, box(0, 0, 0, 0)) == 0


def test_background_psnr_looks_outside_the_change_only():
    clip, change = still_clip(), box(10, 20, 10, 20)
    clip[:, 10 - BACKGROUND_MARGIN : 20 + BACKGROUND_MARGIN, 10 - BACKGROUND_MARGIN : 20 + BACKGROUND_MARGIN] = 255
    assert background_psnr(clip, still_clip()[0], change) == PSNR_CEILING
    assert background_psnr(still_clip(level=110), still_clip()[0], change) == pytest.approx(20 * np.log10(25.5))
    assert background_psnr(still_clip(level=0), still_clip(level=255)[0], change) == 0
    assert background_psnr(clip, still_clip()[0], box(0, HEIGHT, 0, WIDTH)) == PSNR_CEILING


def test_goal_agreement_measures_the_way_to_the_goal():
    image = still_clip()[0]
    goal, halfway, wrong = image.copy(), image.copy(), image.copy()
    goal[10:20, 10:20] = 200
    halfway[10:20, 10:20] = 150
    wrong[10:20, 10:20] = 0

    def clip(*end):
        return np.stack([image] * 12 + list(end))

    assert goal_agreement(clip(goal, goal, goal, goal), image, goal) == 1
    assert goal_agreement(clip(halfway, halfway, halfway, goal), image, goal) == pytest.approx(0.5)
    assert goal_agreement(clip(image, image, image, goal), image, goal) == 0, "the last frame may have been given"
    assert goal_agreement(clip(wrong, wrong, wrong, goal), image, goal) == 0
    assert goal_agreement(clip(image, image, image, image), image, image) == 1


def test_a_hand_that_leaves_does_not_hide_that_the_goal_was_reached():
    image = still_clip()[0]
    goal = image.copy()
    goal[10:20, 10:20] = 200
    left, right = goal.copy(), goal.copy()
    left[10:20, 10:15], right[10:20, 15:20] = 90, 90
    assert goal_agreement(np.stack([image] * 12 + [left, right, right, goal]), image, goal) == 1


@pytest.mark.parametrize("margin", [0, 1, 4, 60])
def test_dilate_grows_by_a_square(margin):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[12, 25] = True
    expected = box(max(12 - margin, 0), 13 + margin, max(25 - margin, 0), 26 + margin)
    assert np.array_equal(dilate(mask, margin), expected)
    assert mask.sum() == 1


def test_all_scores_stay_in_their_ranges_on_noise():
    rng = np.random.default_rng(1)
    for frames in (1, 4):
        clip = rng.integers(0, 255, (frames, HEIGHT, WIDTH, 3), np.uint8)
        masks = rng.random((frames, HEIGHT, WIDTH)) > 0.5
        predicted, change = rng.random((2, HEIGHT, WIDTH), np.float32)
        region = RegionOfMotion(predicted, masks.any(axis=0), masks, change)
        goal = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        track = make_track(present=[1] * frames)
        assert tuple(score_step(clip[0], goal, clip, track, region)) == ALWAYS_SCORED
        scores = score_step(clip[0], goal, clip, track, region, agreement=float(rng.random()))
        assert tuple(scores) == SCORE_NAMES
        assert all(spec.low <= scores[spec.name] <= spec.high for spec in SCORES)
