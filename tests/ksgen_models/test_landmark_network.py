"""The landmark network and its crop against MediaPipe itself, on real video."""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ksgen_models.assets import HAND_LANDMARKER, asset_path, is_present
from ksgen_models.errors import AssetError, WeightsMissing
from ksgen_models.hands.crop import crop_hands, hand_squares
from ksgen_models.hands.follow import FollowStep
from ksgen_models.hands.landmark_network import CROP_SIZE, LandmarkNetwork, load_landmark_network
from ksgen_models.hands.landmarker import Detection, Landmarker
from ksgen_models.video_io import read_video

VIDEO = Path("/usr/share/doc/opencv-doc/opencv4/html/cup.mp4.gz")
needs_networks = pytest.mark.skipif(
    not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets"
)


@pytest.fixture(scope="module")
def network() -> LandmarkNetwork:
    return load_landmark_network()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, Detection, Detection]]:
    """Frames with what MediaPipe finds in them, and what it finds when it starts from that."""
    if not VIDEO.exists():
        pytest.skip("Debian's opencv-doc is not installed")
    path = tmp_path_factory.mktemp("video") / "cup.mp4"
    path.write_bytes(gzip.decompress(VIDEO.read_bytes()))
    frames = read_video(path, max_frames=49)[0][::12]
    seen = []
    with Landmarker(asset_path(HAND_LANDMARKER), video=True, max_hands=1, detection=0.4, presence=0.4) as landmarker:
        for frame in frames:
            first, again = landmarker.detect(frame), landmarker.detect(frame)
            landmarker.forget()
            if first and again:
                seen.append((frame, first[0], again[0]))
    assert len(seen) >= 4
    return seen


@needs_networks
def test_it_finds_what_mediapipe_finds(network: LandmarkNetwork, followed: list) -> None:
    frames = torch.from_numpy(np.stack([frame for frame, *_ in followed]))
    before = torch.from_numpy(np.stack([first.keypoints for _, first, _ in followed]))
    after = np.stack([again.keypoints for *_, again in followed])
    height, width = frames.shape[1:3]
    with torch.no_grad():
        keypoints, world, presence, right = FollowStep(network)(frames, torch.arange(len(frames)), before)
    scale = CROP_SIZE / hand_squares(before, height, width).side.numpy()
    apart = (keypoints.numpy() - after) * (width, height, width)
    pixels = np.linalg.norm(apart[..., :2], axis=-1).mean(1) * scale
    assert pixels.max() < 1
    assert np.median(pixels) < 0.25
    assert (np.abs(apart[..., 2]).mean(1) * scale).max() < 2
    assert np.abs(world.numpy() - np.stack([again.world for *_, again in followed])).max() < 0.005
    assert np.abs(right.numpy() - [again.right for *_, again in followed]).max() < 0.05
    assert presence.min() > 0.4


@needs_networks
def test_the_gradient_is_that_of_finite_differences(followed: list) -> None:
    network = load_landmark_network().double()
    frame, first, _ = followed[0]
    pictures = torch.from_numpy(frame)[None].movedim(-1, 1).double() / 255
    squares = hand_squares(torch.from_numpy(first.keypoints)[None].double(), *frame.shape[:2])
    which = torch.zeros(1, dtype=torch.int64)

    def answer(pictures: torch.Tensor) -> torch.Tensor:
        seen = network(crop_hands(pictures, which, squares))
        return torch.cat([seen.keypoints.flatten(), seen.presence])

    weights = torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pictures.requires_grad_()
    (slope,) = torch.autograd.grad(answer(pictures) @ weights, pictures)
    direction = slope / slope.norm()
    with torch.no_grad():
        step = 1e-5
        difference = (answer(pictures + step * direction) - answer(pictures - step * direction)) @ weights / (2 * step)
    assert slope.norm() > 0
    assert difference.item() == pytest.approx(slope.norm().item(), rel=1e-3)


@needs_networks
def test_bfloat16_moves_keypoints_by_little(network: LandmarkNetwork, followed: list) -> None:
    frame, first, _ = followed[1]
    before = torch.from_numpy(first.keypoints)[None]
    arguments = (torch.from_numpy(frame)[None], torch.zeros(1, dtype=torch.int64), before)
    with torch.no_grad():
        exact = FollowStep(network)(*arguments)[0]
        with torch.autocast("cpu", torch.bfloat16):
            rough = FollowStep(network)(*arguments)[0]
    side = hand_squares(before, *frame.shape[:2]).side.item()
    scale = torch.tensor([frame.shape[1], frame.shape[0]]) * CROP_SIZE / side
    assert rough.dtype == torch.float32
    assert ((exact - rough)[..., :2] * scale).norm(dim=-1).mean() < 1.5


@needs_networks
def test_it_is_frozen(network: LandmarkNetwork) -> None:
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_bundle_that_is_not_there_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        load_landmark_network(tmp_path / "nowhere.task")
    rubbish = tmp_path / "rubbish.task"
    rubbish.write_bytes(b"not a zip")
    with pytest.raises(AssetError):
        load_landmark_network(rubbish)
    with zipfile.ZipFile(rubbish, "w") as archive:
        archive.writestr("hand_landmarks_detector.tflite", b"not a network at all")
    with pytest.raises(AssetError):
        load_landmark_network(rubbish)


@given(
    angle=st.floats(-3.1, 3.1),
    size=st.floats(8, 300),
    shape=st.tuples(st.integers(32, 640), st.integers(32, 640)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20, deadline=None)
def test_the_square_turns_the_hand_upright_and_gives_points_back(
    angle: float, size: float, shape: tuple[int, int], seed: int
) -> None:
    height, width = shape
    upright = torch.rand(21, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.5
    upright[0] = torch.tensor([0.0, 0.7])  # the wrist below
    upright[[5, 9, 13]] = torch.tensor([[-0.1, -0.2], [0.0, -0.2], [0.1, -0.2]], dtype=torch.float64)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    points = (size * upright @ turn.T + torch.tensor([width / 2, height / 3]))[None]
    squares = hand_squares(points / torch.tensor([width, height]), height, width)
    seen = squares.to_crop(points)
    torch.testing.assert_close(squares.to_picture(seen), points)
    assert (seen[0, 9, 0] - seen[0, 0, 0]).abs() < 1e-6
    assert seen[0, 0, 1] > seen[0, 9, 1]
    core = seen[0, [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]]
    assert (core.amax(0) - core.amin(0)).max().item() == pytest.approx(CROP_SIZE / 2)


def test_the_crop_shows_what_is_there() -> None:
    pictures = torch.zeros(2, 3, 64, 96)
    pictures[1, 0, 30:34, 50:54] = 1  # a red spot about (52, 32)
    points = torch.zeros(1, 21, 2)
    points[0] = torch.tensor([52.0, 32.0]) + torch.linspace(-8, 8, 21)[:, None]
    squares = hand_squares(points / torch.tensor([96, 64]), 64, 96)
    crop = crop_hands(pictures, torch.tensor([1]), squares)[0]
    rows, columns = torch.meshgrid(torch.arange(CROP_SIZE), torch.arange(CROP_SIZE), indexing="ij")
    centre = torch.stack([(crop[0] * columns).sum(), (crop[0] * rows).sum()]) / crop[0].sum()
    expected = squares.to_crop(torch.tensor([[[51.5, 31.5]]]))[0, 0]  # pixel (i, j) lies at (j, i), as in OpenCV
    torch.testing.assert_close(centre, expected, atol=0.2, rtol=0)
