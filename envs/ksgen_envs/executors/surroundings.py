"""What is in a gripper's way in a simulated scene."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray


class Surroundings:
    """The boxes round what a gripper can bump into.

    Args:
        model, data: a scene, kinematics computed.
        without: ids of geoms that are not in the way (the robot's own, the held thing's).
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, without: NDArray[np.int64]) -> None:
        solid = (model.geom_contype != 0) & (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        solid[without] = False
        ids = np.flatnonzero(solid)
        self._rotation = data.geom_xmat[ids].reshape(-1, 3, 3)
        self._middle = data.geom_xpos[ids] + np.einsum("nij,nj->ni", self._rotation, model.geom_aabb[ids, :3])
        self._half = model.geom_aabb[ids, 3:]
        extent = np.einsum("nij,nj->ni", np.abs(self._rotation), self._half)
        self._low, self._high = self._middle - extent, self._middle + extent

    def clearance(self, points: NDArray[np.float64]) -> float:
        """Metres from the nearest of points (N, 3) to the nearest thing or the table; ≤ 0 inside."""
        off = np.einsum("nij,pni->pnj", self._rotation, points[:, None] - self._middle)
        outside = np.linalg.norm(np.maximum(np.abs(off) - self._half, 0.0), axis=-1)
        return float(min(outside.min(initial=np.inf), points[:, 2].min()))

    def top_along(self, start: NDArray[np.float64], end: NDArray[np.float64], radius: float) -> float:
        """Height of the highest thing within ``radius`` of the straight way over the table; 0 if there is none."""
        share = np.linspace(0.0, 1.0, 25)[:, None, None]
        way = start[:2] + share * (end[:2] - start[:2])  # (25, 1, 2)
        gap = np.maximum(np.maximum(self._low[:, :2] - way, way - self._high[:, :2]), 0.0)
        near = np.linalg.norm(gap, axis=-1).min(axis=0, initial=np.inf) < radius
        return float(self._high[near, 2].max(initial=0.0))
