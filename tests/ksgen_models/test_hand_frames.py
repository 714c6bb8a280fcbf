"""The hand structure loss in the training of the clip model, and hand errors aligned in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_episodes import make_demonstration, without_clips, write_episodes
from test_hand_structure import needs_networks, scene  # noqa: F401 (a fixture)
from torch import Tensor

from ksgen_models.demonstration import save_demonstration
from ksgen_models.metrics import aligned_keypoint_error, keypoint_error
from ksgen_models.mini.autoencoder import Autoencoder
from ksgen_models.mini.config import FULL
from ksgen_models.mini.weights import load_network, weights_folder
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.hand_frames import CLEAREST, Footage, HandFrames, HandTerm
from ksgen_models.types import HandTrack


def test_footage_shows_the_clips_of_the_cache_and_frames_with_a_hand(tmp_path):
    write_episodes(tmp_path, 2)  # two steps, three steps, and stills, which have no clips
    footage = Footage.of(read_episodes(tmp_path))
    assert footage.first_clip.tolist() == [0, 2, 5]
    frames = footage.hand_frames(np.array([1, 2]), np.random.default_rng(0), number=3)
    true = [make_demonstration(0).steps[1], make_demonstration(1).steps[0]]
    for clip, step in enumerate(true):
        assert np.abs(_pixels(frames.context[clip]) - step.image).max() == 0
        assert (frames.times[clip] > 0).all(), "the first frame shows no hand"
        for picture, keypoints, time in zip(
            frames.pictures[clip], frames.keypoints[clip], frames.times[clip], strict=True
        ):
            assert np.abs(_pixels(picture).astype(int) - step.clip[time]).mean() < 3  # JPEG
            assert np.array_equal(keypoints, step.keypoints[time], equal_nan=True)


def test_stills_alone_are_no_footage(tmp_path):
    save_demonstration(without_clips(make_demonstration(0)), tmp_path / "stack_blocks" / "0000000-stills.npz")
    assert Footage.of(read_episodes(tmp_path)).episodes == ()


@needs_networks
def test_the_hand_term_pulls_clear_estimates_towards_the_true_hand_and_leaves_noisy_ones(scene):  # noqa: F811
    picture, keypoints = scene
    autoencoder = Autoencoder(FULL.autoencoder)
    load_network("autoencoder", autoencoder, weights_folder())
    context = torch.zeros_like(picture)
    with torch.no_grad():
        true = autoencoder.normalise(autoencoder.encode(picture, context))
    frames = HandFrames(
        times=torch.zeros(2, 1, dtype=torch.int64),
        context=context.expand(2, -1, -1, -1),
        pictures=picture[None].expand(2, -1, -1, -1, -1),
        keypoints=keypoints[None].expand(2, -1, -1, -1, -1),
    )
    term = HandTerm(autoencoder, alpha=1.0)
    levels = torch.tensor([0.2, CLEAREST + 0.01])

    def of(latents: Tensor) -> tuple[Tensor, Tensor]:
        clean = latents[None].expand(2, 1, -1, -1, -1).clone().requires_grad_()
        loss = term(clean, levels, frames)
        loss.backward()
        assert clean.grad is not None
        return loss.detach(), clean.grad

    moved = true[0].roll(2, dims=-1)
    right, _ = of(true[0])
    wrong, gradient = of(moved)
    assert right < wrong
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0
    better, _ = of(moved - 0.3 * gradient[0, 0] / gradient[0, 0].norm())
    assert better < wrong


def _track(keypoints: np.ndarray) -> HandTrack:
    valid = np.isfinite(keypoints[..., 0]).all(-1)
    return HandTrack(keypoints, keypoints, valid.astype(np.float32), valid, np.zeros_like(valid))


def test_the_same_motion_a_little_later_is_no_error():
    random = np.random.default_rng(0)
    hand = random.uniform(0.4, 0.6, (21, 3)).astype(np.float32)
    hand[0, :2], hand[9, :2] = [0.5, 0.6], [0.5, 0.5]  # palm length 0.1
    true = np.full((12, 2, 21, 3), np.nan, np.float32)
    for time in range(8):
        true[time, 1] = hand + np.array([0.02 * time, 0, 0], np.float32)
    later = np.full_like(true, np.nan)
    later[3:11] = true[:8]
    aside = later + np.array([0, 0.03, 0], np.float32)
    assert aligned_keypoint_error(_track(later), true) == pytest.approx(0, abs=1e-6)
    assert keypoint_error(_track(later), true) > 0.5
    assert aligned_keypoint_error(_track(aside), true) == pytest.approx(0.3, abs=1e-4)
    assert np.isnan(aligned_keypoint_error(_track(np.full_like(true, np.nan)), true))


def test_true_hands_outside_the_picture_do_not_count():
    hand = np.full((21, 3), 0.5, np.float32)
    hand[9, 1] = 0.4
    true = np.full((2, 2, 21, 3), np.nan, np.float32)
    true[0, 0], true[1, 0] = hand, hand + np.array([0.7, 0, 0], np.float32)
    drawn = np.full_like(true, np.nan)
    drawn[1, 0] = hand
    assert aligned_keypoint_error(_track(drawn), true) == pytest.approx(0, abs=1e-6)


def _pixels(picture: Tensor) -> np.ndarray:
    return ((picture + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).numpy()
