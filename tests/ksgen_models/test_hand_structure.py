"""The hand structure loss on real hands."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ksgen_models.assets import HAND_LANDMARKER, asset_path, is_present
from ksgen_models.errors import InvalidInput
from ksgen_models.hand_structure import HandStructureLoss, targets_from_keypoints
from ksgen_models.hands.landmarker import Landmarker
from ksgen_models.types import LEFT, RIGHT
from ksgen_models.video_io import read_video

VIDEO = Path("/usr/share/doc/opencv-doc/opencv4/html/cup.mp4.gz")
needs_networks = pytest.mark.skipif(
    not is_present(HAND_LANDMARKER), reason="the hand networks are not here; run: ksgen-agent assets"
)


@pytest.fixture(scope="module")
def hand_loss() -> HandStructureLoss:
    return HandStructureLoss()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    """A picture (1, 3, 480, 640) in [-1, 1] of a right hand and MediaPipe's keypoints (1, 2, 21, 3) of it."""
    if not VIDEO.exists():
        pytest.skip("Debian's opencv-doc is not installed")
    path = tmp_path_factory.mktemp("video") / "cup.mp4"
    path.write_bytes(gzip.decompress(VIDEO.read_bytes()))
    frame = read_video(path, max_frames=30)[0][-1]
    with Landmarker(asset_path(HAND_LANDMARKER), video=False, max_hands=1, detection=0.4, presence=0.4) as landmarker:
        hands = landmarker.detect(frame)
    keypoints = torch.full((1, 2, 21, 3), np.nan)
    keypoints[0, RIGHT] = torch.from_numpy(hands[0].keypoints)
    return torch.from_numpy(frame).movedim(-1, 0)[None].float() / 127.5 - 1, keypoints


@needs_networks
def test_a_displaced_hand_costs_more_and_its_error_is_the_displacement(
    hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]
) -> None:
    picture, keypoints = scene
    points = keypoints[0, RIGHT, :, :2] * torch.tensor([640, 480])
    palm = (points[9] - points[0]).norm().item()
    away = round(0.3 * palm)
    targets = hand_loss.targets_from_pictures(picture, keypoints)
    with torch.no_grad():
        right = hand_loss(picture, targets)
        wrong = hand_loss(picture.roll(away, dims=3), targets)
    assert right.error.sqrt().item() < 0.01
    assert right.loss < wrong.loss
    assert wrong.error.sqrt().item() == pytest.approx(away / palm, rel=0.25)


@needs_networks
def test_the_slot_does_not_matter_and_a_mirrored_hand_costs_the_same(
    hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]
) -> None:
    picture, keypoints = scene
    with torch.no_grad():
        right = hand_loss(picture, keypoints)
        left = hand_loss(picture, keypoints.flip(1))
        mirrored = keypoints.flip(1) * torch.tensor([-1.0, 1, 1]) + torch.tensor([1.0, 0, 0])
        other = hand_loss(picture.flip(3), mirrored)
    assert torch.isnan(mirrored[0, RIGHT]).all()
    assert torch.isfinite(mirrored[0, LEFT]).all()
    torch.testing.assert_close(right.loss, left.loss)
    assert other.presence.item() > 0.5
    assert other.error.sqrt().item() == pytest.approx(right.error.sqrt().item(), abs=0.1)


@needs_networks
def test_a_hand_that_is_not_drawn_costs_as_eq_2_says_and_pulls_towards_being_seen(
    hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]
) -> None:
    picture, keypoints = scene
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    blank = (0.02 * noise).requires_grad_()
    targets = targets_from_keypoints(keypoints, 480, 640)
    result = hand_loss(blank, targets)
    zeros = (targets.keypoints.square().sum(-1).mean() / targets.palm.square()).item()
    assert result.presence.item() < 0.5
    expected = zeros - hand_loss.presence_weight * result.presence.log().item()
    assert result.loss.item() == pytest.approx(expected, rel=1e-4)
    result.loss.backward()
    assert blank.grad is not None
    with torch.no_grad():
        nearer = hand_loss(blank - 0.5 * blank.grad / blank.grad.norm(), targets)
    assert nearer.presence > result.presence


@needs_networks
def test_pictures_without_a_hand_cost_nothing(hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]) -> None:
    picture = scene[0].clone().requires_grad_()
    result = hand_loss(picture, torch.full((1, 2, 21, 2), torch.nan))
    result.loss.backward()
    assert result.loss.item() == 0
    assert len(result.error) == 0
    assert picture.grad is not None
    assert not picture.grad.any()


@needs_networks
def test_a_hand_half_outside_counts_only_with_the_joints_inside(
    hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]
) -> None:
    picture, keypoints = scene
    cut = int(keypoints[0, RIGHT, :, 0].sort().values[5] * 640) + 1  # six joints are left of it
    part = picture[..., cut:]
    moved = (keypoints * torch.tensor([640.0, 1, 1]) - torch.tensor([cut, 0.0, 0.0])) / torch.tensor(
        [640.0 - cut, 1, 1]
    )
    targets = targets_from_keypoints(moved, 480, 640 - cut)
    assert targets.counted.sum().item() == 15
    with torch.no_grad():
        assert torch.isfinite(hand_loss(part, targets).loss)
    assert len(targets_from_keypoints(moved - torch.tensor([0.0, 0.9, 0.0]), 480, 640 - cut)) == 0


@needs_networks
def test_several_hands_are_averaged(hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]) -> None:
    picture, keypoints = scene
    pictures = torch.cat([picture, picture.roll(20, dims=3)])
    both = keypoints.expand(2, -1, -1, -1)
    with torch.no_grad():
        together = hand_loss(pictures, both)
        apart = [hand_loss(pictures[n : n + 1], both[n : n + 1]).loss for n in range(2)]
    torch.testing.assert_close(together.loss, torch.stack(apart).mean(), atol=1e-4, rtol=1e-3)


@needs_networks
def test_the_gradient_is_that_of_finite_differences(scene: tuple[Tensor, Tensor]) -> None:
    hand_loss = HandStructureLoss().double()
    picture, keypoints = scene[0].double().roll(15, dims=3).requires_grad_(), scene[1].double()
    (slope,) = torch.autograd.grad(hand_loss(picture, keypoints).loss, picture)
    random = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for direction in (slope / slope.norm(), random / random.norm()):
        step = 1e-5
        with torch.no_grad():
            up, down = (hand_loss(picture + sign * step * direction, keypoints).loss for sign in (1, -1))
        assert ((up - down) / (2 * step)).item() == pytest.approx((slope * direction).sum().item(), rel=1e-3)


@needs_networks
@pytest.mark.slow
def test_following_the_gradient_brings_the_hand_to_its_place(
    hand_loss: HandStructureLoss, scene: tuple[Tensor, Tensor]
) -> None:
    picture, keypoints = scene
    targets = hand_loss.targets_from_pictures(picture, keypoints)
    drawn = picture.roll(25, dims=3).requires_grad_()
    optimiser = torch.optim.Adam([drawn], lr=0.01)
    errors = []
    for _ in range(20):
        result = hand_loss(drawn, targets)
        errors.append(result.error.item())
        optimiser.zero_grad()
        result.loss.backward()
        optimiser.step()
    assert errors[-1] < 0.25 * errors[0]


@needs_networks
def test_what_does_not_fit_is_refused(hand_loss: HandStructureLoss) -> None:
    with pytest.raises(InvalidInput, match="pictures must be"):
        hand_loss(torch.zeros(1, 1, 64, 64), torch.zeros(1, 2, 21, 2))
    with pytest.raises(InvalidInput, match="keypoints must be"):
        hand_loss(torch.zeros(1, 3, 64, 64), torch.zeros(1, 2, 20, 2))
    with pytest.raises(InvalidInput, match="targets were made for"):
        hand_loss(torch.zeros(1, 3, 64, 64), targets_from_keypoints(torch.zeros(2, 2, 21, 2), 64, 64))
