"""The robot's fixed camera over the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CAMERA_NAME = "robot_camera"


@dataclass(frozen=True)
class View:
    """Where the camera is and what it sees; its pictures are square.

    Attributes:
        position: (3,) metres.
        rotation: (3, 3) camera-to-world, OpenCV's axes: x right, y down, z forward.
        fovy: degrees.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    fovy: float

    def xyaxes(self) -> NDArray[np.float64]:
        """(6,) the camera's x and y axes as MJCF wants them: right and up."""
        return np.concatenate([self.rotation[:, 0], -self.rotation[:, 1]])

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (..., 3) to normalised image coordinates (..., 2)."""
        seen = (np.asarray(points) - self.position) @ self.rotation
        half = np.tan(np.deg2rad(self.fovy) / 2)
        return 0.5 + 0.5 * seen[..., :2] / (seen[..., 2:] * half)

    def sees(self, points: NDArray[np.float64], margin: float = 0.03) -> bool:
        """Whether all points lie in the picture, ``margin`` (a share of its width) away from its edge."""
        image = self.project(points)
        return bool(np.all((image > margin) & (image < 1 - margin)))


def sample_view(rng: np.random.Generator) -> View:
    """A camera above the table on the person's side, looking down steeply, jittered."""
    elevation = np.deg2rad(rng.uniform(60.0, 65.0))
    azimuth = np.deg2rad(-90.0 + rng.uniform(-4.0, 4.0))
    distance = rng.uniform(0.635, 0.670)
    target = np.array([rng.uniform(-0.012, 0.012), rng.uniform(-0.012, 0.012) + 0.005, 0.02])
    outward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    forward = -outward
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    return View(target + distance * outward, np.stack([right, down, forward], axis=1), float(rng.uniform(41.5, 43.0)))
