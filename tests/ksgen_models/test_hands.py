"""The hand tracker on real video, and its parts on made-up detections."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ksgen_models.assets import HAND_LANDMARKER, is_present
from ksgen_models.errors import AssetError, InvalidClip
from ksgen_models.hands.drawing import draw_hands, draw_track
from ksgen_models.hands.identity import assign_identity, without_doubles
from ksgen_models.hands.landmarker import Detection
from ksgen_models.hands.smoothing import interpolate_gaps, smooth_track
from ksgen_models.hands.tracker import HandTracker, cut_out, plan_pieces, set_back, survey_frames
from ksgen_models.rom import observed_region
from ksgen_models.types import LEFT, RIGHT, HandTrack
from ksgen_models.video_io import read_video

VIDEOS = Path("/usr/share/doc/opencv-doc/opencv4/html")
needs_networks = pytest.mark.skipif(
    not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets"
)


@pytest.fixture(scope="module")
def cup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A right hand turning a cup, from Debian's opencv-doc."""
    packed = VIDEOS / "cup.mp4.gz"
    if not packed.exists():
        pytest.skip("Debian's opencv-doc is not installed")
    path = tmp_path_factory.mktemp("video") / "cup.mp4"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.fixture(scope="module")
def cup_clip(cup: Path) -> np.ndarray:
    return read_video(cup, max_frames=120)[0]


def hand_at(x: float, y: float, right: float, size: float = 0.2) -> Detection:
    points = np.random.default_rng(0).uniform(-size / 2, size / 2, (21, 3)).astype(np.float32)
    return Detection(points + np.array([x, y, 0], np.float32), points, right)


@needs_networks
@pytest.mark.slow
def test_the_whole_video_has_one_right_hand(cup: Path) -> None:
    with HandTracker() as tracker:
        track = tracker.track(cup)
    assert len(track.valid) == 217
    assert track.valid[:, RIGHT].mean() >= 0.95
    assert not track.valid[:, LEFT].any()


@needs_networks
def test_a_short_clip_is_tracked_and_repeats_to_the_bit(cup_clip: np.ndarray) -> None:
    clip = cup_clip[:16]
    with HandTracker() as tracker, HandTracker(workers=1) as single:
        track = tracker.track(clip, 30)
        tracker.track(cup_clip[60:70], 30)  # what came between leaves no trace
        again, alone = tracker.track(clip, 30), single.track(clip, 30)
    assert track.valid[:, RIGHT].all()
    assert np.array_equal(track.keypoints, again.keypoints, equal_nan=True)
    assert np.array_equal(track.keypoints, alone.keypoints, equal_nan=True)
    assert (track.confidence[track.valid] > 0).all()
    assert np.isnan(track.keypoints[~track.valid]).all()
    assert (track.confidence[~track.valid] == 0).all()
    per_frame, union = observed_region(track, 480, 640)
    assert per_frame.any(axis=(1, 2)).all()
    assert 0.01 < union.mean() < 0.3


@needs_networks
def test_a_hand_too_small_for_whole_frames_is_found_in_their_parts(cup_clip: np.ndarray) -> None:
    import cv2

    small = np.full((16, 384, 384, 3), 120, np.uint8)
    for frame, video in zip(small, cup_clip[:16], strict=True):
        frame[:76, :101] = cv2.resize(video, (101, 76), interpolation=cv2.INTER_AREA)
    with HandTracker() as tracker, HandTracker(retry=False) as hasty:
        assert not hasty.track(small, 8).valid.any()
        track = tracker.track(small, 8)
    assert track.valid.any(axis=1).mean() >= 0.9
    assert np.nanmax(track.keypoints[..., :2]) < 0.3


@needs_networks
def test_a_mirrored_clip_has_the_other_hand_at_the_mirrored_place(cup_clip: np.ndarray) -> None:
    clip = cup_clip[:8]
    with HandTracker() as tracker:
        track, mirrored = tracker.track(clip, 30), tracker.track(np.ascontiguousarray(clip[:, :, ::-1]), 30)
    assert mirrored.valid[:, LEFT].all()
    assert not mirrored.valid[:, RIGHT].any()
    apart = track.keypoints[:, RIGHT, :, 0] - (1 - mirrored.keypoints[:, LEFT, :, 0])
    assert np.abs(apart).mean() < 0.03


@needs_networks
def test_both_hands_are_told_apart_and_keep_their_sides(cup_clip: np.ndarray) -> None:
    clip = cup_clip[::8][:12]
    both = np.concatenate([clip[:, :, ::-1], clip], axis=2)  # left hand comes from the left edge, right from the right
    with HandTracker() as tracker:
        track = tracker.track(np.ascontiguousarray(both[:, :, ::2]), 4)
    assert track.valid.all(axis=1).mean() >= 0.75
    wrists = track.keypoints[..., 0, 0]
    assert np.nanmax(wrists[:, LEFT]) < 0.5 < np.nanmin(wrists[:, RIGHT])


@needs_networks
def test_a_clip_without_hands_has_an_empty_track() -> None:
    noise = np.random.default_rng(1).integers(90, 110, (4, 128, 128, 3), dtype=np.uint8)
    with HandTracker() as tracker:
        track = tracker.track(noise, 10)
    assert not track.valid.any()
    assert track.keypoints.shape == (4, 2, 21, 3)


@needs_networks
def test_one_frame_and_tiny_frames_are_clips_too(cup_clip: np.ndarray) -> None:
    with HandTracker() as tracker:
        assert tracker.track(cup_clip[:1], 30).valid.sum() == 1
        assert tracker.track(np.zeros((3, 2, 2, 3), np.uint8), 30).valid.shape == (3, 2)
        assert tracker.track(np.zeros((2, 4, 300, 3), np.uint8), 30).valid.shape == (2, 2)


@needs_networks
@pytest.mark.parametrize("bad", [np.zeros((4, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), "missing.mp4"])
def test_what_is_no_clip_is_named(bad: object) -> None:
    with HandTracker() as tracker, pytest.raises(InvalidClip):
        tracker.track(bad)  # type: ignore[arg-type]


@needs_networks
def test_an_impossible_frame_rate_is_named() -> None:
    with HandTracker() as tracker, pytest.raises(InvalidClip, match="positive"):
        tracker.track(np.zeros((4, 8, 8, 3), np.uint8), 0)


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.task").write_text("no networks here")
    with pytest.raises(AssetError, match=r"text\.task"):
        HandTracker(tmp_path / "text.task")


@needs_networks
def test_tracking_is_silent_on_the_terminal() -> None:
    code = (
        "import numpy as np; from ksgen_models.hands.tracker import HandTracker\n"
        "tracker = HandTracker(); tracker.track(np.zeros((9, 64, 64, 3), np.uint8), 10); tracker.close()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == result.stderr == ""


def test_a_hand_keeps_its_side_when_single_frames_disagree() -> None:
    frames = [[hand_at(0.3 + 0.01 * at, 0.5, 0.2 if at % 4 == 0 else 0.9)] for at in range(16)]
    track = assign_identity(frames)
    assert track.valid[:, RIGHT].all()
    assert not track.valid[:, LEFT].any()


def test_two_hands_that_both_look_right_get_a_side_each() -> None:
    frames = [[hand_at(0.7, 0.5, 0.95), hand_at(0.2, 0.5, 0.6)] for _ in range(8)]
    frames[3].reverse()  # the order of detections means nothing
    track = assign_identity(frames)
    assert track.valid.all()
    assert track.keypoints[:, RIGHT, 0, 0].mean() > 0.5 > track.keypoints[:, LEFT, 0, 0].mean()
    assert np.ptp(track.keypoints[:, :, 0, 0], axis=0).max() == 0


def test_a_hand_seen_twice_and_a_flash_beside_it_count_once() -> None:
    assert len(without_doubles([hand_at(0.5, 0.5, 0.9), hand_at(0.51, 0.5, 0.2)])) == 1
    frames = [[hand_at(0.3, 0.5, 0.9)] for _ in range(12)]
    frames[5].append(hand_at(0.8, 0.2, 0.1))
    assert not assign_identity(frames).valid[:, LEFT].any()


@pytest.mark.parametrize(("gap", "filled"), [(1, True), (3, True), (4, False)])
def test_short_gaps_are_filled_and_marked(gap: int, filled: bool) -> None:
    frames = [[hand_at(0.2 + 0.02 * at, 0.5, 0.9)] for at in range(12)]
    for at in range(4, 4 + gap):
        frames[at] = []
    track = interpolate_gaps(assign_identity(frames), 3)
    inside = slice(4, 4 + gap)
    assert track.valid[inside, RIGHT].all() == filled
    assert track.interpolated[inside, RIGHT].all() == filled
    assert track.interpolated.sum() == (gap if filled else 0)
    if filled:
        expected = [frames[3][0].keypoints[0, 0] + 0.02 * step for step in range(1, gap + 1)]
        assert track.keypoints[inside, RIGHT, 0, 0] == pytest.approx(expected, abs=1e-5)
        assert (track.confidence[inside, RIGHT] < track.confidence[3, RIGHT]).all()


def test_smoothing_calms_a_still_hand_and_keeps_its_place() -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, (30, 2, 21, 3)).astype(np.float32)
    keypoints = noise + 0.5
    valid = np.ones((30, 2), bool)
    valid[:, LEFT] = False
    keypoints[:, LEFT] = np.nan
    track = HandTrack(keypoints, keypoints.copy(), valid.astype(np.float32), valid, np.zeros_like(valid))
    smooth = smooth_track(track, 30)
    assert smooth.keypoints[:, RIGHT].std(axis=0).mean() < 0.7 * keypoints[:, RIGHT].std(axis=0).mean()
    assert np.abs(smooth.keypoints[:, RIGHT].mean(axis=0) - 0.5).max() < 0.02
    assert np.isnan(smooth.keypoints[:, LEFT]).all()


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 100, 217])
@pytest.mark.parametrize("hands", [0, 1, 2])
def test_the_pieces_cover_every_frame_once(length: int, hands: int) -> None:
    pieces = plan_pieces(length, dict.fromkeys(survey_frames(length), hands))
    frames = [at for piece in pieces for at in range(piece.start, piece.stop)]
    assert frames == list(range(length))
    if length > 1:
        assert {piece.hands for piece in pieces} == {1 if hands == 1 else 2}


def test_a_second_hand_is_looked_for_around_where_it_was_seen() -> None:
    surveyed = survey_frames(65)
    pieces = plan_pieces(65, {at: 2 if at == surveyed[4] else 1 for at in surveyed})
    wanted = np.concatenate([[piece.hands] * (piece.stop - piece.start) for piece in pieces])
    assert (wanted[surveyed[3] : surveyed[5]] == 2).all()
    assert wanted[0] == wanted[-1] == 1


def test_a_cut_out_goes_back_to_where_it_was_taken() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    hand = hand_at(0.5, 0.5, 0.9)
    cut, place = cut_out(frame, hand)
    assert max(cut.shape[:2]) >= 300
    left, top, width, height = place
    inside = (hand.keypoints * (200, 100, 200) - (left, top, 0)) / (width, height, width)
    again = set_back(Detection(inside.astype(np.float32), hand.world, 0.9), place, (100, 200))
    assert np.allclose(again.keypoints, hand.keypoints, atol=1e-5)


def test_drawing_leaves_the_picture_alone_and_shows_the_hand() -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    keypoints = np.full((2, 21, 3), np.nan, np.float32)
    assert (draw_hands(image, keypoints) == 128).all()
    keypoints[RIGHT] = hand_at(0.5, 0.5, 0.9).keypoints
    drawn = draw_hands(image, keypoints)
    assert (image == 128).all()
    assert (drawn[30:90, 50:110] != 128).mean() > 0.05
    assert (drawn[:, :30] == 128).all()
    track = HandTrack(keypoints[None], keypoints[None], np.ones((1, 2)), np.ones((1, 2), bool), np.zeros((1, 2), bool))
    assert (draw_track(image[None], track)[0] == drawn).all()
