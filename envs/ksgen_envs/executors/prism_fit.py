"""Fits prisms to pictures: where a thing stood before a step, and where it is to be after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.prism import Prism, Window
from ksgen_envs.executors.scene_change import Picture, Region
from ksgen_envs.executors.sight import Array, Sight

ABOVE_GRIP = 0.005
"""Metres by which people pinch higher than `below_top` says."""
_PINCH_ERROR = 0.015  # metres
_SIZES = (0.006, 0.25)  # metres
_COVERS, _SPILLS = 0.5, 0.3  # what it counts against colours that a region is not covered, and more than it
_SQUARE = 0.2  # radians: things stand about square to the table's edge, as far as a silhouette leaves it open


def fit_standing(
    region: Region,
    sight: Sight,
    *,
    pinch: Array | None,
    grip: float | None = None,
    yaw: float = 0.0,
    base: float = 0.0,
) -> tuple[Prism, float]:
    """Fit a prism that stands at height ``base``, a box or a cylinder, to the region in which a thing was seen.

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

    def box_of(v: Array) -> Prism:
        width, depth, height = np.clip(np.exp(v[3:6]), *_SIZES)
        return Prism(middle[0] + v[0], middle[1] + v[1], base, yaw + v[2], float(width), float(depth), float(height))

    def cylinder_of(v: Array) -> Prism:
        width, height = np.clip(np.exp(v[2:4]), *_SIZES)
        x, y = middle + v[:2]
        return Prism(x, y, base, yaw, float(width), float(width), float(height), round=True)

    def cost(prism: Prism) -> float:
        total = window.mismatch(prism, sight)
        if not prism.round:
            turned = prism.yaw - yaw
            total += 0.012 * np.log(prism.depth / prism.width) ** 2 + 0.012 * (turned / _SQUARE) ** 2
            total += 3.0 * max(0.0, abs(turned) - np.pi / 4) ** 2
        if pinch is not None:
            held = sight.at_height(pinch, prism.top - below_top(prism.height))[:2]
            total += 0.012 * min(4.0, float(((held - (prism.x, prism.y)) ** 2).sum()) / _PINCH_ERROR**2)
        if grip is not None:
            total += 0.012 * min(9.0, ((prism.top - below_top(prism.height) + ABOVE_GRIP - grip) / _PINCH_ERROR) ** 2)
        return total

    boxes, cylinders = [], []
    for height in (0.014, 0.04, 0.09):
        lean = height * _lean(sight, np.array([*middle, base]))
        foot = np.maximum(size - np.abs(lean), 0.01)
        # What is seen from the side looks wider than it is.
        for share in (1.0, 0.5):
            sizes = np.log([max(share * foot[0], 0.01), foot[1], height])
            boxes.append(np.array([*(-lean / 2), 0.0, *sizes]))
        cylinders.append(np.array([*(-lean / 2), np.log(foot.min()), np.log(height)]))
    box = box_of(_search(lambda v: cost(box_of(v)), boxes, np.array([0.006, 0.006, 0.12, 0.15, 0.15, 0.25])))
    cylinder = cylinder_of(_search(lambda v: cost(cylinder_of(v)), cylinders, np.array([0.006, 0.006, 0.15, 0.25])))
    prism = min(box, cylinder, key=cost)
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
        unchanged = int((drawn & ~window.mask & ~window.doubtful).sum()) / max(int(drawn.sum()), 1)
        return float(photometric + _COVERS * uncovered + _SPILLS * unchanged)

    def moved_by(v: Array) -> Prism:
        x, y, low, turned = v.tolist() if len(v) == 4 else (*v.tolist(), prism.yaw)
        return Prism(x, y, low, turned, *shape, round=prism.round)

    def cost(v: Array) -> float:
        moved = moved_by(v)
        low = max(0.0, -moved.base) / 0.01
        far = 0.0 if base is None else (moved.base - base) / base_error
        return miss(moved) + 0.3 * low + 0.02 * far**2 + 0.02 * ((moved.yaw - prism.yaw - turn) / 0.35) ** 2

    free = 3 if prism.round else 4  # how a round thing is turned is not to be seen
    starts = []
    for height in (0.0, 0.04, 0.085, 0.12) if base is None else (base,):
        spot = sight.at_height(centre, height + prism.height / 2)
        starts.append(np.array([spot[0], spot[1], height, prism.yaw + turn])[:free])
    moved = moved_by(_search(cost, starts, np.array([0.006, 0.006, 0.012, 0.10])[:free]))
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
