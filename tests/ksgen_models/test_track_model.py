"""The hand track that is expected of a step: learnt, read off, and drawn for the clip model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_episodes import write_episodes

from ksgen_models.assets import SENTENCE_ENCODER, is_present
from ksgen_models.demonstration import FORMAT_VERSION
from ksgen_models.errors import DatasetError
from ksgen_models.mini.config import TINY
from ksgen_models.mini.hand_pictures import HAND_CHANNELS, hand_pictures
from ksgen_models.mini.track_model import ExpectedHands, TrackModel
from ksgen_models.training.episodes import read_episodes
from ksgen_models.training.fit import FitConfig, fit
from ksgen_models.training.progress_data import read_works
from ksgen_models.training.train_track import in_mirror, track_batches, track_losses
from ksgen_models.types import LEFT, RIGHT

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
    places = torch.rand(1, 2, 3, 21, 2)
    there = torch.tensor([[[1.0, 1.0, 1.0], [-1.0, 2.0, 3.0]]])
    track = ExpectedHands(places, there, torch.tensor([[0.2, 0.7]])).likeliest()
    assert track.shape == (1, 3, 2, 21, 2)
    assert track[:, :, LEFT].isnan().all()
    assert track[0, 0, RIGHT].isnan().all()
    assert torch.equal(track[0, 1:, RIGHT], places[0, RIGHT, 1:])


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
    assert (expected.places - batch.keypoints).abs()[there].mean() < 0.05


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
