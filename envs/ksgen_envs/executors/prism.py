"""The plain shape that an unknown thing on the table is taken for: an upright prism, fitted to its silhouette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.scene_change import Mask, Picture, Region
from ksgen_envs.executors.sight import Array, Sight

_FINE = 3  # silhouettes are compared at so many times the pictures' resolution
_SHIFT = 4  # fixed-point bits of OpenCV's polygon filler
ABOVE_GRIP = 0.005
"""Metres by which people pinch higher than `below_top` says."""
_PINCH_ERROR = 0.015  # metres
_SQUARE = 0.2  # radians: things stand about square to the table's edge, as far as a silhouette leaves it open
_DOUBT = 0.15  # what a doubtful pixel counts in a silhouette's mismatch
_MARGIN = 6  # pixels around a region that a fit looks at


@dataclass(frozen=True)
class Prism:
    """A box that stands upright.

    Attributes:
        x, y: metres, its middle.
        base: metres above the table, its underside.
        yaw: radians about the vertical.
        width, depth: metres along its own x and y.
        height: metres.
    """

    x: float
    y: float
    base: float
    yaw: float
    width: float
    depth: float
    height: float

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
        """(8, 3) in the world."""
        w, d, h = self.width / 2, self.depth / 2, self.height
        return self.place(np.array([(i * w, j * d, k * h) for i in (-1, 1) for j in (-1, 1) for k in (0, 1)]))

    def surface(self, image: Array, sight: Sight) -> tuple[Array, NDArray[np.bool_]]:
        """Where rays meet it: own-frame points (N, 3) for normalised (N, 2), and (N,) bool, whether they do."""
        eye = self.local(sight.eye)
        far = self.local(sight.at_height(image, 0.0))
        ray = far - eye
        half = np.array([self.width / 2, self.depth / 2])
        low, high = np.array([-half[0], -half[1], 0.0]), np.array([half[0], half[1], self.height])
        with np.errstate(divide="ignore", invalid="ignore"):
            enter = np.minimum((low - eye) / ray, (high - eye) / ray).max(axis=-1)
            leave = np.maximum((low - eye) / ray, (high - eye) / ray).min(axis=-1)
        return eye + ray * enter[:, None], enter <= leave


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


def fit_standing(
    region: Region,
    sight: Sight,
    *,
    pinch: Array | None,
    grip: float | None = None,
    yaw: float = 0.0,
    base: float = 0.0,
) -> tuple[Prism, float]:
    """Fit a prism that stands at height ``base`` to the region in which a thing was seen.

    A silhouette from one side does not tell a deep low thing from a high narrow one. Where the hand is seen to hold it
    does: things are held near their tops. And as far as both leave it open, a thing is about as deep as it is wide.

    Args:
        region: not empty.
        sight: the camera.
        pinch: (2,) normalised, where the hand is seen to hold it; None where unknown.
        grip: metres above the table at which the hand holds it; None where unknown.
        yaw: radians; the prism's yaw stays within π/4 of it.
        base: metres.

    Returns:
        The prism and its mismatch in [0, 1].
    """
    window = Window.around(region)
    mask = region.mask
    rows, columns = np.nonzero(mask)
    image = np.stack([(columns + 0.5) / mask.shape[1], (rows + 0.5) / mask.shape[0]], axis=-1)
    flat = sight.at_height(image, base)[:, :2]
    middle, size = flat.mean(axis=0), np.ptp(flat, axis=0)

    def prism_of(v: Array) -> Prism:
        width, depth, height = np.clip(np.exp(v[3:6]), 0.006, 0.25)
        return Prism(middle[0] + v[0], middle[1] + v[1], base, yaw + v[2], float(width), float(depth), float(height))

    def cost(v: Array) -> float:
        prism = prism_of(v)
        total = window.mismatch(prism, sight)
        total += 0.012 * (v[4] - v[3]) ** 2 + 0.012 * (v[2] / _SQUARE) ** 2 + 3.0 * max(0.0, abs(v[2]) - np.pi / 4) ** 2
        if pinch is not None:
            held = sight.at_height(pinch, prism.top - below_top(prism.height))[:2]
            total += 0.012 * min(4.0, float(((held - (prism.x, prism.y)) ** 2).sum()) / _PINCH_ERROR**2)
        if grip is not None:
            total += 0.012 * min(9.0, ((prism.top - below_top(prism.height) + ABOVE_GRIP - grip) / _PINCH_ERROR) ** 2)
        return total

    starts = []
    for height in (0.014, 0.04, 0.09):
        lean = height * _lean(sight, np.array([*middle, base]))
        foot = np.maximum(size - np.abs(lean), 0.01)
        # What is seen from the side looks wider than it is.
        for share in (1.0, 0.5):
            sizes = np.log([max(share * foot[0], 0.01), foot[1], height])
            starts.append(np.array([-lean[0] / 2, -lean[1] / 2, 0.0, *sizes]))
    prism = prism_of(_search(cost, starts, np.array([0.006, 0.006, 0.12, 0.15, 0.15, 0.25])))
    return prism, window.mismatch(prism, sight)


def below_top(height: float) -> float:
    """Metres below its top at which a thing of this height is held: low things in their middle, high ones near it."""
    return min(height / 2, 0.02)


def _lean(sight: Sight, place: Array) -> Array:
    # (2,) metres on the table by which a point one metre up is seen displaced from its foot.
    image = sight.project(place + np.array([0.0, 0.0, 0.05]))
    return (sight.at_height(image, float(place[2]))[:2] - place[:2]) / 0.05


def follow(
    prism: Prism,
    before: Picture,
    after: Picture,
    region: Region,
    sight: Sight,
    *,
    base: float | None,
    turn: float,
    base_error: float = 0.01,
    sunk: float = 0.0,
) -> tuple[Prism, float]:
    """Find where a thing went: the same prism, with what is seen on it before, at another place after.

    Points of its surface keep their colours while it moves (a capped difference makes light of what is hidden or
    shadowed), and it fills the region in which it is seen at last. How much larger it is seen says how high it is.

    Args:
        prism: as it stands before.
        before, after: (H, W, 3) uint8.
        region: where it is seen after.
        sight: the camera.
        base: metres, height of its underside after, where known.
        base_error: metres, how well it is known.
        sunk: metres of it, from below, that are out of sight after (in a hole), so that their colours tell nothing.
        turn: radians by which the hand turned it.

    Returns:
        The prism after, and its mismatch in [0, 1].
    """
    local, colours = _texture(prism, before, sight)
    seen_after = local[:, 2] >= min(sunk, prism.height / 2)
    local, colours = local[seen_after], colours[seen_after]
    window = Window.around(region)
    picture = after.astype(np.float32)
    centre = region.centre
    shape = (prism.width, prism.depth, prism.height)

    def miss(moved: Prism) -> float:
        image = sight.project(moved.place(local))
        seen = _sampled(picture, image)
        photometric = np.minimum(np.abs(seen - colours).mean(axis=-1) / 60.0, 1.0).mean()
        drawn = window.silhouette(moved, sight)
        uncovered = int((window.mask & ~drawn).sum()) / max(int(window.mask.sum()), 1)
        return float(photometric + 0.5 * uncovered)

    def moved_by(v: Array) -> Prism:
        return Prism(float(v[0]), float(v[1]), float(v[2]), float(v[3]), *shape)

    def cost(v: Array) -> float:
        moved = moved_by(v)
        low = max(0.0, -moved.base) / 0.01
        far = 0.0 if base is None else (moved.base - base) / base_error
        return miss(moved) + 0.3 * low + 0.02 * far**2 + 0.02 * ((moved.yaw - prism.yaw - turn) / 0.35) ** 2

    starts = []
    for height in (0.0, 0.04, 0.085) if base is None else (base,):
        spot = sight.at_height(centre, height + prism.height / 2)
        starts.append(np.array([spot[0], spot[1], height, prism.yaw + turn]))
    moved = moved_by(_search(cost, starts, np.array([0.006, 0.006, 0.012, 0.10])))
    return moved, miss(moved)


def _search(cost: Callable[[Array], float], starts: list[Array], steps: Array) -> Array:
    # Nelder and Mead's simplex, briefly from every start and then to the end from the best place found.
    from scipy.optimize import minimize

    def descend(start: Array, steps: Array, evaluations: int) -> tuple[float, Array]:
        simplex = np.concatenate([start[None], start + np.diag(steps)])
        options = {"initial_simplex": simplex, "maxfev": evaluations, "xatol": 1e-4, "fatol": 1e-4}
        found = minimize(cost, start, method="Nelder-Mead", options=options)
        return float(found.fun), found.x

    brief = 20 * len(steps)
    _, best = min((descend(start, steps, brief) for start in starts), key=lambda found: found[0])
    return descend(best, steps / 2, 2 * brief)[1]


def _texture(prism: Prism, picture: Picture, sight: Sight) -> tuple[Array, NDArray[np.float32]]:
    # Own-frame points (N, 3) on the seen surface, two to a pixel's side, and their colours (N, 3).
    height, width = picture.shape[:2]
    corners = sight.project(prism.corners()) * (width, height)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    xs, ys = np.meshgrid(np.arange(left, right, 0.7), np.arange(top, bottom, 0.7))
    image = np.stack([xs.ravel() / width, ys.ravel() / height], axis=-1)
    local, hit = prism.surface(image, sight)
    return local[hit], _sampled(picture.astype(np.float32), image[hit])


def _sampled(picture: NDArray[np.float32], image: Array) -> NDArray[np.float32]:
    # Colours (N, 3) at normalised (N, 2), bilinear.
    import cv2

    height, width = picture.shape[:2]
    pixels = (image * (width, height) - 0.5).astype(np.float32)
    return cv2.remap(
        picture, pixels[None, :, 0], pixels[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[0]
