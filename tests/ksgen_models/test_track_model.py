"""The hand track that is expected of a step: learnt, read off, and drawn for the clip model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_episodes import write_episodes

from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.demonstration import FORMAT_VERSION
from ksgen_models.errors import DatasetError
from ksgen_models.metrics import aligned_keypoint_error
from ksgen_models.mini.config import TINY
from ksgen_models.mini.hand_pictures import HAND_CHANNELS, hand_pictures
from ksgen_models.mini.track_model import MANNERS, ExpectedHands, TrackModel
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.progress_data import read_works
from ksgen_models.training.train_track import aligned_error, in_mirror, track_batches, track_losses
from ksgen_models.types import LEFT, RIGHT, HandTrack

needs_sentences = pytest.mark.skipif(
    not is_present(SENTENCE_ENCODER), reason="the sentence encoder is not here; run: ksgen-agent assets"
)


def _hand(x: float, y: float, size: float = 0.2) -> np.ndarray:
    """(21, 2): a flat right hand, fingers up, its wrist at (x, y)."""
    fan = np.array([[0.0, 0.0], *([0.25 * f - 0.5, -0.35 - 0.15 * j] for f in range(5) for j in range(4))])
    return np.array([x, y]) + size * fan


def _track(slot: int, hand: np.ndarray) -> np.ndarray:
    track = np.full((1, 2, 21, 2), np.nan, np.float32)
    track[0, slot] = hand
    return track


def test_a_hand_is_drawn_where_it_is_and_nowhere_else():
    drawn = hand_pictures(_track(RIGHT, _hand(0.3, 0.6)), 64)[0]
    assert drawn.shape == (HAND_CHANNELS, 64, 64)
    rows, columns = np.nonzero(drawn.max(0))
    assert np.abs(columns - 0.3 * 64).max() <= 8
    assert (rows.min(), rows.max()) == pytest.approx((0.6 * 64 - 12, 0.6 * 64), abs=2)
    palm, thumb, fingers, others = (np.nonzero(layer)[1].mean() for layer in drawn)
    assert thumb < fingers < others, "the thumb of a right hand seen from above lies to the left"
    assert abs(palm - 0.3 * 64) < 3


def test_left_and_right_hands_are_told_apart_and_absent_ones_not_drawn():
    right, left = (hand_pictures(_track(slot, _hand(0.5, 0.6)), 64)[0] for slot in (RIGHT, LEFT))
    assert np.array_equal(right[1:], left[1:])
    assert right[0].max() == 255
    assert left[0].max() == 127
    assert not hand_pictures(np.full((3, 2, 21, 2), np.nan), 32).any()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=42, max_size=42),
    st.sampled_from([16, 64]),
)
def test_any_track_can_be_drawn(numbers: list[float], side: int):
    drawn = hand_pictures(_track(LEFT, np.array(numbers).reshape(21, 2)), side)
    assert drawn.shape == (1, HAND_CHANNELS, side, side)


def test_the_likelier_hand_is_expected_in_the_frames_in_which_it_is_there():
    places = torch.rand(2, 2, MANNERS, 3, 21, 2)
    there = torch.tensor([[[1.0, 1.0, 1.0], [-1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    likely = torch.full((2, 2, MANNERS), -9.0)
    likely[0, RIGHT, 1] = 1.0
    likely[1, RIGHT, 0] = 1.5  # the likeliest manner of all, but all of the left hand's together are likelier
    likely[1, LEFT] = 1.0
    track = ExpectedHands(places, there, likely).track()
    assert track.shape == (2, 3, 2, 21, 2)
    assert track[0, :, LEFT].isnan().all()
    assert track[0, 0, RIGHT].isnan().all()
    assert torch.equal(track[0, 1:, RIGHT], places[0, RIGHT, 1, 1:])
    assert track[1, :, RIGHT].isnan().all()
    assert any(torch.equal(track[1, :, LEFT], manner) for manner in places[1, LEFT])


def test_between_manners_that_are_as_likely_the_middle_one_is_taken_and_a_sure_one_over_it():
    places = torch.zeros(1, 2, MANNERS, 1, 21, 2)
    places[0, RIGHT] += torch.tensor([0.0, 1.0, 0.4])[:, None, None, None]
    likely = torch.full((1, 2, MANNERS), -9.0)
    likely[0, RIGHT] = 0.0
    taken = ExpectedHands(places, torch.ones(1, 2, 1), likely).track()[0, 0, RIGHT, 0, 0]
    assert taken == pytest.approx(0.4)
    likely[0, RIGHT, 1] = 2.0
    taken = ExpectedHands(places, torch.ones(1, 2, 1), likely).track()[0, 0, RIGHT, 0, 0]
    assert taken == pytest.approx(1.0)


@needs_sentences
def test_where_the_hand_goes_is_learnt_from_demonstrations_and_stills(tmp_path):
    episodes = read_episodes(write_episodes(tmp_path / "data"))
    batches = track_batches(episodes)
    stills = [episode for episode in episodes if not episode.has_clips]
    assert len(batches.keypoints) == sum(e.steps for e in episodes if e.has_clips) + 2 * sum(e.steps for e in stills)
    torch.manual_seed(0)
    model = TrackModel(TINY.track, TINY.frames)
    learnt = fit("track", model, batches, track_losses, FitConfig(150, 8, 5e-3, 10), tmp_path, resume=False)
    assert isinstance(learnt, TrackModel)
    batch = batches(np.random.default_rng(0), 16)
    with torch.no_grad():
        expected = learnt(batch.image, batch.goal, batch.tokens, batch.mask)
    there = torch.isfinite(batch.keypoints).all(-1).all(-1)  # (B, 2, T)
    acting = there.any(-1)
    assert acting.sum(0).min() > 0, "half is seen in a mirror, where it is a left hand"
    assert ((expected.there > 0) == there)[acting].float().mean() > 0.9
    errors = (expected.places - batch.keypoints[:, :, None]).abs().mean((-1, -2)).movedim(2, -1)[there]
    assert errors.min(-1).values.mean() < 0.05


@needs_sentences
def test_two_ways_to_hold_become_two_manners_and_not_one_hand_in_between(tmp_path):
    batches = track_batches(read_episodes(write_episodes(tmp_path / "data")))
    way = np.full_like(batches.keypoints[0], np.nan)
    ways = []
    for aside in (-0.2, 0.2):
        way[RIGHT] = _hand(0.5 + aside, 0.6)
        ways.append(way.copy())
    picture, text = (np.repeat(told[:1], 2, axis=0) for told in (batches.picture, batches.text))
    two = replace(batches, keypoints=np.stack(ways), picture=picture, text=text)
    torch.manual_seed(0)
    learnt = fit(
        "track",
        TrackModel(TINY.track, TINY.frames),
        two,
        track_losses,
        FitConfig(200, 8, 5e-3, 10),
        tmp_path,
        resume=False,
    )
    batch = two(np.random.default_rng(0), 16)
    with torch.no_grad():
        track = learnt(batch.image, batch.goal, batch.tokens, batch.mask).track()
    off = (track[..., 0, 0].nan_to_num(0).sum(-1) - 0.5).abs()
    assert (off - 0.2).abs().mean() < 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_error_that_training_lowers_is_the_one_that_is_measured(seed: int, frames: int):
    random = np.random.default_rng(seed)
    there = random.random((3, frames)) < 0.7
    there[:, random.integers(frames)] = True
    base = _hand(0.5, 0.7)
    said, true = (
        base + random.normal(0, 0.1, (3, frames, 1, 2)) + random.normal(0, 0.005, (3, frames, 21, 2)) for _ in range(2)
    )
    measured = []
    for clip in range(3):
        tracks = [np.full((frames, 2, 21, 3), np.nan, np.float32) for _ in range(2)]
        for track, hand in zip(tracks, (said, true), strict=True):
            track[there[clip], RIGHT, :, :2] = np.clip(hand[clip, there[clip]], 0, 1)
        valid = np.isfinite(tracks[0][..., 0]).all(-1)
        drawn = HandTrack(tracks[0], tracks[0], valid.astype(np.float32), valid, np.zeros_like(valid))
        measured.append(aligned_keypoint_error(drawn, tracks[1]))
    tensors = (torch.from_numpy(np.clip(hand, 0, 1)) for hand in (said, true))
    error = aligned_error(*tensors, torch.from_numpy(there))
    assert error.tolist() == pytest.approx(measured, abs=1e-3)


def test_a_motion_that_is_late_has_no_error_after_time_alignment_and_a_gradient_where_it_is_aside():
    true = torch.from_numpy(np.stack([_hand(0.3 + 0.05 * t, 0.7) for t in range(6)]))[None]
    late = true[:, [0, 0, 1, 2, 3, 5]]
    there = torch.ones(1, 6, dtype=torch.bool)
    aside = (late + torch.tensor([0.0, 0.02])).requires_grad_()
    assert float(aligned_error(late, true[:, [0, 1, 2, 3, 5, 5]], there)) < 2e-3
    error = aligned_error(aside, true[:, [0, 1, 2, 3, 5, 5]], there)
    error.backward()
    assert float(error.detach()) == pytest.approx(0.02 / float((true[0, 0, 9] - true[0, 0, 0]).norm()), rel=0.01)
    assert (aside.grad[..., 1] > 0).all()


def test_a_sentence_in_a_mirror_exchanges_left_and_right():
    assert in_mirror("Put the left upright to the right") == "Put the right upright to the left"
    assert in_mirror("Lay the board across the uprights") == "Lay the board across the uprights"


@pytest.mark.parametrize("read", [read_episodes, lambda folder: read_works([folder])])
def test_training_refuses_episodes_of_another_format(tmp_path, read):
    path = next(write_episodes(tmp_path, 1).glob("*/0000000.npz"))
    with np.load(path) as archive:
        data = dict(archive)
    meta = json.loads(data["meta"].tobytes()) | {"format": FORMAT_VERSION - 1}
    np.savez(path, **data | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    with pytest.raises(DatasetError, match=r"0000000\.npz: format .* generate it anew"):
        read(tmp_path)
