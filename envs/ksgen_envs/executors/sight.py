"""From pixels to places: rays of the fixed camera, and where they meet a level plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.demonstration import Camera

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sight:
    """The camera, over normalised image coordinates, so that pictures of any size can be used.

    Attributes:
        camera: intrinsics and pose.
        width, height: pixels of the picture that the intrinsics belong to.
    """

    camera: Camera
    width: int
    height: int

    @property
    def eye(self) -> Array:
        """(3,) where the camera is in the world."""
        pose = self.camera.world_to_camera
        return -pose[:, :3].T @ pose[:, 3]

    def to_pixels(self, image: NDArray[np.floating[Any]]) -> Array:
        """Normalised image coordinates (..., 2) in pixels of the intrinsics."""
        return np.asarray(image, np.float64)[..., :2] * (self.width, self.height)

    def project(self, points: NDArray[np.floating[Any]]) -> Array:
        """World points (..., 3) to normalised image coordinates (..., 2)."""
        return self.camera.project(points)[..., :2] / (self.width, self.height)

    def lift(self, image: NDArray[np.floating[Any]], depth: NDArray[np.floating[Any]]) -> Array:
        """World points (..., 3) seen at normalised (..., 2) in camera depth (...) metres."""
        return self.eye + self._directions(image) * np.asarray(depth, np.float64)[..., None]

    def at_height(self, image: NDArray[np.floating[Any]], height: float | NDArray[np.floating[Any]]) -> Array:
        """World points (..., 3) seen at normalised (..., 2) that lie ``height`` metres above the table."""
        eye, ray = self.eye, self._directions(image)
        return eye + ray * ((np.asarray(height, np.float64) - eye[2]) / ray[..., 2])[..., None]

    def _directions(self, image: NDArray[np.floating[Any]]) -> Array:
        # (..., 3) in the world, of unit camera depth.
        pixels = self.to_pixels(image)
        seen = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1) @ np.linalg.inv(self.camera.intrinsics).T
        return seen @ self.camera.world_to_camera[:, :3]
