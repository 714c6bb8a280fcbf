"""The working hand of a key step in metres: by PnP from a hand track, or exactly from a demonstration's keypoints.

From one camera the depth of a hand is its weak direction: MediaPipe's world landmarks are those of an average hand and
their proportions err with the posture. `docs/executors.md` has the measured errors. `HandPath.depth_known` tells the
parts downstream whether heights may be taken from the hand or must come from the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.sight import Array, Sight
from ksgen_models.errors import NoHandFound
from ksgen_models.types import HandTrack

THUMB, INDEX, MIDDLE = 4, 8, 12
"""Landmarks of the fingertips; the one before each is the last joint of its finger."""
_PAD = 0.75  # of the way from a finger's last joint to its tip
_FLESH = 0.0125  # metres that two pads are thick together
_FEWEST = 3


@dataclass(frozen=True)
class HandPath:
    """One hand through a clip, as far as a gripper cares.

    Attributes:
        slot: 0 for the left hand, 1 for the right.
        valid: (T,) bool; below NaN where False.
        points: (T, 21, 3) metres in the world.
        image: (T, 21, 2) normalised.
        depth_known: whether ``points`` may be trusted along the camera's view.
    """

    slot: int
    valid: NDArray[np.bool_]
    points: Array
    image: Array
    depth_known: bool

    @property
    def pinch(self) -> Array:
        """(T, 3) metres, half-way between the pads of thumb and fingers."""
        thumb, fingers = _pads(self.points)
        return (thumb + fingers) / 2

    @property
    def pinch_image(self) -> Array:
        """(T, 2) normalised, the same point in the picture."""
        thumb, fingers = _pads(self.image)
        return (thumb + fingers) / 2

    @property
    def aperture(self) -> Array:
        """(T,) metres between the pads."""
        thumb, fingers = _pads(self.points)
        return np.maximum(np.linalg.norm(fingers - thumb, axis=-1) - _FLESH, 0.0)

    @property
    def tip(self) -> Array:
        """(T, 3) metres, the index fingertip."""
        return self.points[:, INDEX]

    @property
    def tip_image(self) -> Array:
        """(T, 2) normalised, the index fingertip."""
        return self.image[:, INDEX]

    @property
    def lowest(self) -> Array:
        """(T,) metres above the table, the lowest keypoint."""
        return self.points[..., 2].min(axis=1)

    def yaw(self, sight: Sight) -> Array:
        """(T,) radians about the vertical, from thumb to fingers, in [-π/2, π/2).

        Without known depth both pads are taken to be at one height, which is how a gripper that points down holds.
        """
        thumb, fingers = _pads(self.points)
        if not self.depth_known:
            first, second = _pads(self.image)
            thumb, fingers = sight.at_height(first, 0.03), sight.at_height(second, 0.03)
        across = fingers - thumb
        return half_turn(np.arctan2(across[:, 1], across[:, 0]))


def half_turn(angle: Array) -> Array:
    """Angles brought to [-π/2, π/2): a gripper turned by π is the same."""
    return (np.asarray(angle) + np.pi / 2) % np.pi - np.pi / 2


def exact_hand(keypoints: NDArray[np.float32], sight: Sight) -> HandPath:
    """The hand of a demonstration from its exact keypoints.

    Args:
        keypoints: (T, 2, 21, 3), x and y normalised, z camera depth in metres; NaN where absent.
        sight: the camera.

    Raises:
        NoHandFound: fewer than three frames show a hand.
    """
    valid = np.asarray(np.isfinite(keypoints).all(axis=(2, 3)))
    slot = _working_slot(valid, keypoints)
    hand = keypoints[:, slot].astype(np.float64)
    return HandPath(slot, valid[:, slot], sight.lift(hand[..., :2], hand[..., 2]), hand[..., :2], depth_known=True)


def tracked_hand(track: HandTrack, sight: Sight) -> HandPath:
    """The hand of a hand track, by PnP for each frame.

    Raises:
        NoHandFound: fewer than three frames show a hand.
    """
    usable = track.valid & np.isfinite(track.keypoints[..., :2]).all(axis=(2, 3))
    slot = _working_slot(usable, track.keypoints)
    valid = usable[:, slot].copy()
    image = track.keypoints[:, slot, :, :2].astype(np.float64)
    points = np.full((*image.shape[:2], 3), np.nan)
    for at in np.flatnonzero(valid):
        pose = solve_hand_pose(image[at], track.world[at, slot].astype(np.float64), sight)
        if pose is None:
            valid[at] = False
        else:
            points[at] = pose
    if valid.sum() < _FEWEST:
        raise NoHandFound("PnP fits no hand pose to the hand track; check the camera's intrinsics")
    image[~valid] = np.nan
    return HandPath(slot, valid, points, image, depth_known=False)


def solve_hand_pose(image: Array, world: Array, sight: Sight) -> Array | None:
    """Where a hand's 21 landmarks are in the world: PnP by SQPnP, refined by Levenberg–Marquardt (OpenCV).

    Args:
        image: (21, 2) normalised.
        world: (21, 3) metres in a frame of the hand's own (MediaPipe's world landmarks).
        sight: the camera.

    Returns:
        (21, 3) metres in the world, or None where no pose in front of the camera fits.

    Source:
        Terzakis and Lourakis, "A Consistently Fast and Globally Optimal Solution to the PnP Problem", ECCV 2020.
    """
    import cv2

    if not (np.isfinite(image).all() and np.isfinite(world).all()):
        return None
    pixels, intrinsics = sight.to_pixels(image), sight.camera.intrinsics
    try:
        found, turn, shift = cv2.solvePnP(world, pixels, intrinsics, None, flags=cv2.SOLVEPNP_SQPNP)
        if not found:
            return None
        turn, shift = cv2.solvePnPRefineLM(world, pixels, intrinsics, None, turn, shift)
    except cv2.error:  # landmarks that all lie in one point
        return None
    seen = world @ np.asarray(cv2.Rodrigues(turn)[0]).T + np.asarray(shift).ravel()
    if not np.isfinite(seen).all() or (seen[:, 2] <= 0.0).any():
        return None
    pose = sight.camera.world_to_camera
    return (seen - pose[:, 3]) @ pose[:, :3]


def _working_slot(valid: NDArray[np.bool_], keypoints: NDArray[np.float32]) -> int:
    # The hand that is seen in more frames; of two alike the one that travels farther.
    seen = valid.sum(axis=0)
    if seen.max() < _FEWEST:
        raise NoHandFound(f"a hand is seen in {int(seen.max())} of {len(valid)} frames; {_FEWEST} are needed")
    wrist = np.where(valid[..., None], keypoints[:, :, 0, :2], np.nan)
    travel = [float(np.nansum(np.linalg.norm(np.diff(wrist[:, slot], axis=0), axis=-1))) for slot in (0, 1)]
    return int(np.argmax([seen[slot] + min(travel[slot], 0.9) for slot in (0, 1)]))


def _pads(points: Array) -> tuple[Array, Array]:
    # (T, D) of the thumb's pad, and of the pads of index and middle finger together: people hold with both.
    thumb, index, middle = (points[:, tip - 1] + _PAD * (points[:, tip] - points[:, tip - 1]) for tip in _TIPS)
    return thumb, (index + middle) / 2


_TIPS = (THUMB, INDEX, MIDDLE)
