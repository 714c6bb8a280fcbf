"""Each filter tells its fault from clean frames; parts cover what they are cut from."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from curation_parts import panned, texture
from hypothesis import given
from hypothesis import strategies as st

from ksgen_export.curation import maker
from ksgen_export.curation.filters.blur import measure_blur
from ksgen_export.curation.filters.cuts import find_cuts, histogram_distances
from ksgen_export.curation.filters.duplicates import MOST_BITS, DuplicateIndex, bits_apart, frame_hashes
from ksgen_export.curation.filters.motion import measure_motion
from ksgen_export.curation.filters.text import measure_text
from ksgen_export.curation.parts import REASONS, long_runs, split
from ksgen_export.curation.thresholds import Thresholds
from ksgen_models.assets import SCENE_CUTS, is_present
from ksgen_models.errors import AssetError, InvalidInput

LIMITS = Thresholds()


def cuts_in(frames: np.ndarray) -> list[int]:
    cuts = find_cuts(histogram_distances(frames), LIMITS.cut_distance, LIMITS.cut_contrast)
    return np.flatnonzero(cuts).tolist()


def test_a_cut_is_found_at_its_frame_and_a_pan_is_none() -> None:
    assert cuts_in(panned(1, 20, 4.0)) == []
    assert cuts_in(np.concatenate([panned(1, 9), panned(2, 12), panned(3, 5)])) == [9, 21]


def test_a_large_thing_that_enters_is_no_cut() -> None:
    clip = panned(1, 12, 0.0)
    clip[6:, 60:, :110] = (224, 172, 140)
    assert cuts_in(clip) == []


def test_a_frozen_clip_does_not_move_and_a_pan_does() -> None:
    still = np.repeat(texture(1)[None], 6, 0)
    assert measure_motion(still).amount.max() == 0
    noisy = (still + np.random.default_rng(0).normal(0, 1.5, still.shape)).clip(0, 255).astype(np.uint8)
    assert measure_motion(noisy).amount.max() < LIMITS.still_motion
    assert measure_motion(panned(1, 6, 1.0)).amount.min() > LIMITS.still_motion


def test_a_shaken_camera_is_told_from_an_even_pan() -> None:
    clip = panned(1, 14, 3.0)
    assert measure_motion(clip).shake.max() < LIMITS.shake / 2
    assert measure_motion(maker.shake(clip, 0.02, np.random.default_rng(0))).shake.min() > LIMITS.shake


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_shortest_shots_have_figures(length: int) -> None:
    motion = measure_motion(panned(1, length))
    assert motion.amount.shape == motion.shake.shape == (length,)
    assert measure_text(panned(1, length)).shape == (length,)


def test_blur_grows_with_the_lens_and_not_with_the_size_of_the_video() -> None:
    clip = texture(1, 512, 512)[None]
    figures = [float(measure_blur(maker.blur(clip, strength))[0]) for strength in (0.001, 0.005, 0.015)]
    assert figures == sorted(figures)
    assert figures[0] < LIMITS.blur < figures[2]
    half = np.stack([cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in clip])
    assert measure_blur(maker.blur(half, 0.015))[0] > LIMITS.blur


def test_a_caption_is_found_and_a_label_that_moves_is_none() -> None:
    clip = panned(5, 8)
    assert measure_text(clip).max() < LIMITS.text
    assert measure_text(maker.caption(clip, "How to do it right", np.random.default_rng(0))).min() > LIMITS.text
    wide = maker.caption(texture(5, 256, 400)[None], "Breakfast cereals", np.random.default_rng(0))[0]
    moving = np.stack([wide[:, 12 * at : 12 * at + 256] for at in range(8)])
    assert measure_text(moving)[2:-2].max() < LIMITS.text


def test_copies_have_near_hashes_and_other_pictures_have_not() -> None:
    first, second = texture(1), texture(2)
    smaller = cv2.resize(first, (160, 160), interpolation=cv2.INTER_AREA)
    copy = (cv2.resize(smaller, (320, 320)) * 0.9 + 5).astype(np.uint8)
    one, near, far = frame_hashes(first[None])[0], frame_hashes(copy[None])[0], frame_hashes(second[None])[0]
    assert bits_apart(one, near) <= LIMITS.duplicate_bits
    assert bits_apart(one, far) > 60


def test_a_subclip_that_begins_some_frames_later_is_the_same() -> None:
    clip = panned(1, 56, 6.0)
    index = DuplicateIndex(LIMITS.duplicate_bits)
    index.add("first", frame_hashes(clip[:16]))
    index.add("second", frame_hashes(clip[16:32]))
    name, share = index.find(frame_hashes(clip[21:37]))
    assert name == "second"
    assert share >= 11 / 16
    assert index.find(frame_hashes(clip[40:]))[1] < LIMITS.duplicate_share
    assert DuplicateIndex(4).find(frame_hashes(clip[:16])) == ("", 0.0)


@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 255), max_size=MOST_BITS))
def test_the_index_misses_no_hash_within_its_reach(seed: int, flipped: set[int]) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, 256).astype(np.uint8)
    other = bits.copy()
    other[list(flipped)] ^= 1
    index = DuplicateIndex(MOST_BITS)
    index.add("kept", np.packbits(bits).view(np.uint16)[None])
    assert index.find(np.packbits(other).view(np.uint16)[None]) == ("kept", 1.0)


masks = st.integers(1, 80).flatmap(
    lambda count: st.fixed_dictionaries(
        {name: st.lists(st.booleans(), min_size=count, max_size=count) for name in ("still", "text")}
    )
)


@given(masks, st.integers(2, 20))
def test_parts_cover_every_frame_once_and_subclips_hold_no_dropped_one(drawn: dict, length: int) -> None:
    dropped = {name: np.array(mask) for name, mask in drawn.items()}
    count = len(dropped["text"])
    parts = split(dropped, count, length)
    assert [parts[0].start, *(part.stop for part in parts)] == [*(part.start for part in parts), count]
    for part in parts:
        frames = slice(part.start, part.stop)
        if not part.reasons:
            assert part.stop - part.start == length
        assert set(part.reasons) <= set(REASONS)
        for name, mask in dropped.items():
            assert mask[frames].all() if name in part.reasons else not mask[frames].any()
    short = [part for part in parts if part.reasons == ("too_short",)]
    assert all(part.stop - part.start < length for part in short)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 10))
def test_long_runs_keeps_whole_runs(drawn: list[bool], shortest: int) -> None:
    kept = long_runs(np.array(drawn, bool), shortest)
    expected: list[bool] = []
    for key, run in itertools.groupby(drawn):
        size = len(list(run))
        expected += [key and size >= shortest] * size
    assert kept.tolist() == expected


@pytest.mark.parametrize(
    "wrong", [{"blur": -1.0}, {"shake": float("nan")}, {"frames": 1}, {"fps": 0.0}, {"text": "much"}, {"text": True}]
)
def test_thresholds_without_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong)).replace("fps", "frames a second")):
        Thresholds(**wrong)


@pytest.mark.slow
@pytest.mark.skipif(not is_present(SCENE_CUTS), reason="TransNetV2 is not here; run: ksgen-agent assets transnetv2")
def test_transnet_finds_a_cut_and_a_dissolve() -> None:
    from ksgen_export.curation.filters.transnet import cut_probabilities, load_transnet

    first, second, third = (panned(seed, 60, 1.0, 108, 192) for seed in (1, 2, 3))
    weights = np.linspace(0, 1, 12)[:, None, None, None]
    dissolve = (second[-12:] * (1 - weights) + third[:12] * weights).astype(np.uint8)
    clip = np.concatenate([first, second[:-12], dissolve, third[12:]])
    small = np.stack([cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA) for frame in clip])
    found = np.flatnonzero(cut_probabilities(load_transnet(), small) > LIMITS.cut_probability)
    assert 59 in found
    assert any(105 <= at <= 122 for at in found)
    assert all(57 <= at <= 61 or 105 <= at <= 122 for at in found)


def test_what_is_no_transnet_is_named(tmp_path) -> None:
    from ksgen_export.curation.filters.transnet import load_transnet

    path = tmp_path / "weights.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(AssetError, match="TransNetV2"):
        load_transnet(path)
