"""The plain shape that an unknown thing on the table is taken for: an upright prism, and its silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.scene_change import Mask, Region
from ksgen_envs.executors.sight import Array, Sight

_FINE = 3  # silhouettes are compared at so many times the pictures' resolution
_SHIFT = 4  # fixed-point bits of OpenCV's polygon filler
_DOUBT = 0.15  # what a doubtful pixel counts in a silhouette's mismatch
_MARGIN = 6  # pixels around a region that a fit looks at
_RIM = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)


@dataclass(frozen=True)
class Prism:
    """A box or a cylinder that stands upright.

    Attributes:
        x, y: metres, its middle.
        base: metres above the table, its underside.
        yaw: radians about the vertical.
        width, depth: metres along its own x and y.
        height: metres.
        round: whether it is a cylinder, as wide as deep.
    """

    x: float
    y: float
    base: float
    yaw: float
    width: float
    depth: float
    height: float
    round: bool = False

    @property
    def top(self) -> float:
        """Metres above the table."""
        return self.base + self.height

    def place(self, local: Array) -> Array:
        """Points (..., 3) in its own frame (origin in the middle of the underside) in the world."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, y, z = local[..., 0], local[..., 1], local[..., 2]
        return np.stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y, self.base + z], axis=-1)

    def local(self, points: Array) -> Array:
        """World points (..., 3) in its own frame."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, y = points[..., 0] - self.x, points[..., 1] - self.y
        return np.stack([cos * x + sin * y, cos * y - sin * x, points[..., 2] - self.base], axis=-1)

    def corners(self) -> Array:
        """In the world: (8, 3) of a box, as many as make a cylinder's rims look round (N, 3)."""
        w, d, h = self.width / 2, self.depth / 2, self.height
        if self.round:
            rim = np.stack([w * np.cos(_RIM), w * np.sin(_RIM)], axis=-1)
            return self.place(np.concatenate([np.insert(rim, 2, height, axis=1) for height in (0.0, h)]))
        return self.place(np.array([(i * w, j * d, k * h) for i in (-1, 1) for j in (-1, 1) for k in (0, 1)]))

    def surface(self, image: Array, sight: Sight) -> tuple[Array, NDArray[np.bool_]]:
        """Where rays meet it: own-frame points (N, 3) for normalised (N, 2), and (N,) bool, whether they do."""
        eye = self.local(sight.eye)
        far = self.local(sight.at_height(image, 0.0))
        ray = far - eye
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.stack([-eye[2:] / ray[:, 2:], (self.height - eye[2:]) / ray[:, 2:]])
            sides = self._through_rim(eye, ray) if self.round else self._through_sides(eye, ray)
            spans = np.concatenate([np.sort(ends, axis=0), sides], axis=-1)  # (2, N, 2 or 3): in and out
            enter, leave = spans[0].max(axis=-1), spans[1].min(axis=-1)
        return eye + ray * enter[:, None], enter <= leave

    def _through_sides(self, eye: Array, ray: Array) -> Array:
        half = np.array([self.width / 2, self.depth / 2])
        return np.sort(np.stack([(-half - eye[:2]) / ray[:, :2], (half - eye[:2]) / ray[:, :2]]), axis=0)

    def _through_rim(self, eye: Array, ray: Array) -> Array:
        # Shares (2, N, 1) of the rays at which they enter and leave the endless cylinder; NaN where they miss it.
        a = (ray[:, :2] ** 2).sum(axis=-1)
        b = ray[:, :2] @ eye[:2]
        root = np.sqrt(b**2 - a * (float(eye[:2] @ eye[:2]) - (self.width / 2) ** 2))
        return np.stack([(-b - root) / a, (-b + root) / a])[..., None]


@dataclass(frozen=True)
class Window:
    """A part of the picture at a finer resolution, to compare silhouettes in.

    Attributes:
        left, top: pixels of the picture.
        width, height: pixels of the whole picture.
        mask, doubtful: (h, w) bool, `_FINE` times as fine, as in `Region`.
    """

    left: int
    top: int
    width: int
    height: int
    mask: Mask
    doubtful: Mask

    @classmethod
    def around(cls, region: Region) -> Window:
        """The window around a region that is not empty."""
        import cv2

        mask = region.mask

        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom = max(0, rows[0] - _MARGIN), min(mask.shape[0], rows[-1] + 1 + _MARGIN)
        left, right = max(0, columns[0] - _MARGIN), min(mask.shape[1], columns[-1] + 1 + _MARGIN)
        size = ((right - left) * _FINE, (bottom - top) * _FINE)

        def fine(whole: Mask) -> Mask:
            part = whole[top:bottom, left:right].astype(np.float32)
            return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)) > 0.5

        certain = fine(mask)
        return cls(int(left), int(top), mask.shape[1], mask.shape[0], certain, fine(region.doubtful) & ~certain)

    def silhouette(self, prism: Prism, sight: Sight) -> Mask:
        """The prism's silhouette in this window."""
        import cv2

        pixels = sight.project(prism.corners()) * (self.width, self.height) - (self.left, self.top)
        hull = cv2.convexHull((pixels * _FINE - 0.5).astype(np.float32))
        drawn = np.zeros(self.mask.shape, np.uint8)
        cv2.fillConvexPoly(drawn, np.round(hull * 2**_SHIFT).astype(np.int32), 1, shift=_SHIFT)
        return drawn.astype(bool)

    def mismatch(self, prism: Prism, sight: Sight) -> float:
        """1 − intersection over union of region and silhouette, where doubtful pixels count little either way."""
        drawn = self.silhouette(prism, sight)
        wrong = int((drawn ^ self.mask).sum()) - (1.0 - _DOUBT) * int((drawn & self.doubtful).sum())
        missed = _DOUBT * int((self.doubtful & ~drawn).sum())
        return (wrong + missed) / max(int((drawn | self.mask).sum()), 1)
