"""How a person's hand moves through one key step: where it holds, and the path there, along and away.

Everything here is geometry in numpy. World frame: metres, z up from the table's top, the person at −y. A hand is
worked out as a right hand; for a left hand the world is mirrored in x and the result is mirrored back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.hand.pinch import Hold, grasp, hold, pinch, point, press
from ksgen_envs.hand.skeleton import Array, Posture, Side, bone_frames, keypoint_sites

_FLIP = np.diag([-1.0, 1.0, 1.0])
_MIRROR = np.diag([1.0, -1.0, 1.0])
_ELBOW = np.array([0.20, -0.44, 0.17])  # where a right elbow rests, about
_CANDIDATES = 700
_WRIST_LIMITS = ((-0.9, 0.9), (-0.55, 0.40))  # flexion, deviation


@dataclass(frozen=True)
class Touch:
    """A hand's pose on a prop.

    Attributes:
        side: which hand.
        posture: fingers when they hold.
        open_posture: fingers a moment before.
        hold: where the posture holds, hand frame of an average right hand.
        rotation: (3, 3) of the hand, in the frame of ``side``.
        cost: how awkward it is.
    """

    side: Side
    posture: Posture
    open_posture: Posture
    hold: Hold
    rotation: Array
    cost: float


def minimum_jerk(t: float | Array) -> Array:
    """Smooth 0 to 1 for ``t`` from 0 to 1, clipped (Flash & Hogan, J. Neurosci. 1985)."""
    t = np.clip(t, 0.0, 1.0)
    return t**3 * (10 + t * (6 * t - 15))


def slerp(start: Array, end: Array, t: float) -> Array:
    """Interpolate two (3, 3) rotations along the shortest turn."""
    vector = rotation_vector(start.T @ end)
    return start @ rotation_about(vector * t)


def rotation_about(vector: Array) -> Array:
    """(3, 3) from a rotation vector (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def rotations_about(vectors: Array) -> Array:
    """(N, 3, 3) from rotation vectors (N, 3)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vectors).as_matrix()


def rotation_vector(rotation: Array) -> Array:
    """Rotation vector of a (3, 3) rotation."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(rotation).as_rotvec()


def turn_between(a: Array, b: Array) -> Array:
    """(3, 3) the least rotation that takes unit vector a to b."""
    cross, dot = np.cross(a, b), float(a @ b)
    length = float(np.linalg.norm(cross))
    if length < 1e-9:
        if dot > 0:
            return np.eye(3)
        other = np.cross(a, [1.0, 0, 0] if abs(a[0]) < 0.9 else [0, 1.0, 0])
        return rotation_about(other / np.linalg.norm(other) * np.pi)
    return rotation_about(cross / length * np.arctan2(length, dot))


def mirrored(rotation: Array) -> Array:
    """A right hand's rotation as the mirrored left hand's, and back."""
    return _FLIP @ rotation @ _MIRROR


def wrist_position(touch: Touch, holding: Array, rotation: Array, size: float) -> Array:
    """Where the wrist is, (3,), when a hand of ``size`` turned by ``rotation`` holds at ``holding``."""
    mirror = _MIRROR if touch.side == "left" else np.eye(3)
    return holding - rotation @ (mirror @ touch.hold.point) * size


def bent_wrist(posture: Posture, position: Array, rotation: Array, side: Side, elbow: Array) -> Posture:
    """The posture with its wrist bent so that the forearm comes from the elbow, as far as a wrist bends."""
    if side == "left":
        position, rotation, elbow = position * [-1, 1, 1], mirrored(rotation), elbow * [-1, 1, 1]
    flexion, deviation = wrist_angles((position - elbow)[None], rotation[None])
    (low_f, high_f), (low_d, high_d) = _WRIST_LIMITS
    return posture.with_wrist(float(np.clip(flexion[0], low_f, high_f)), float(np.clip(deviation[0], low_d, high_d)))


def wrist_angles(arm: Array, rotation: Array) -> tuple[Array, Array]:
    """Flexion and deviation (N,) that point forearms along ``arm`` (N, 3) for right hands turned (N, 3, 3)."""
    arm = arm / np.linalg.norm(arm, axis=-1, keepdims=True)
    local = np.einsum("nij,ni->nj", rotation, arm)
    return np.arcsin(np.clip(local[:, 2], -1, 1)), np.arctan2(-local[:, 1], local[:, 0])


def elbow_of(side: Side, offset: Array) -> Array:
    """(3,) where the elbow rests; ``offset`` (3,) varies it."""
    elbow = _ELBOW + offset
    return elbow * [-1, 1, 1] if side == "left" else elbow


def plan_touch(
    spots: list[tuple[Array, Array]],
    width: float,
    side: Side,
    towards_camera: Array,
    elbow: Array,
    size: float,
    rng: np.random.Generator,
    *,
    pressing: bool = False,
    floor: float = 0.0,
) -> Touch:
    """Choose how a hand holds a prop: comfortable at every spot, clear of the table, and readable by the camera.

    Candidates keep the hold's axis within some twenty degrees of the prop's and turn about it at random.

    Args:
        spots: (point, axis) of the prop in the world at the step's important moments, (3,) each; the hand keeps its
            place on the prop, so all spots must differ by a turn about the vertical.
        width: of the prop between the pads, metres.
        side: which hand.
        towards_camera: (3,) unit.
        elbow: (3,) of that side.
        size: the hand's scale.
        rng: draws the candidates.
        pressing: press with the index finger instead of holding.
        floor: height below which no part of the hand may be at the first spot, metres.
    """
    flip = np.array([-1.0, 1.0, 1.0]) if side == "left" else np.ones(3)
    spots = [(p * flip, a * flip) for p, a in spots]
    camera, elbow = towards_camera * flip, elbow * flip
    best: tuple[float, Posture, Posture, Hold, Array] | None = None
    for closed, opened in _postures(width / size, pressing):
        held = press(closed) if pressing else hold(closed)
        rotations = _candidates(held.axis, spots[0][1], rng, pressing)
        cost = rng.uniform(0.0, 0.25, len(rotations))
        local = _landmarks(closed) * size
        for index, (spot, axis) in enumerate(spots):
            turn = turn_between(_level(spots[0][1]), _level(axis)) if not pressing else np.eye(3)
            turned = turn @ rotations
            wrist = spot - turned @ held.point * size
            cost += _awkwardness(turned, wrist, camera, elbow)
            low = (wrist[:, None, 2] + turned[:, 2] @ local.T).min(axis=1)
            cost += 60.0 * np.maximum(0.0, (floor if index == 0 else 0.0) + 0.009 - low)
        choice = int(np.argmin(cost))
        if best is None or cost[choice] < best[0]:
            best = (float(cost[choice]), closed, opened, held, rotations[choice])
    assert best is not None
    cost_, closed, opened, held, rotation = best
    return Touch(side, closed, opened, held, mirrored(rotation) if side == "left" else rotation, cost_)


def _postures(width: float, pressing: bool) -> list[tuple[Posture, Posture]]:
    if pressing:
        return [(point(), point())]
    wide = min(width + 0.030, 0.092)
    if width > 0.045:
        return [(grasp(width, style), grasp(wide, style)) for style in ("over", "beside")]
    return [(pinch(width, style), pinch(wide, style)) for style in ("over", "beside")]


def _level(axis: Array) -> Array:
    flat = np.array([axis[0], axis[1], 0.0])
    return flat / max(float(np.linalg.norm(flat)), 1e-9)


def _candidates(own: Array, wanted: Array, rng: np.random.Generator, pressing: bool) -> Array:
    # (N, 3, 3): the hold's axis on the wanted one (either way round unless pressing), give or take.
    signs = np.ones(_CANDIDATES) if pressing else rng.choice([-1.0, 1.0], _CANDIDATES)
    base = {sign: turn_between(own, sign * wanted) for sign in (-1.0, 1.0)}
    slack = rng.normal(0.0, 0.08 if pressing else 0.20, (_CANDIDATES, 3)).clip(-0.45, 0.45)
    turns = rng.uniform(-np.pi, np.pi, _CANDIDATES)
    start = np.where(signs[:, None, None] > 0, base[1.0], base[-1.0])
    return rotations_about(slack) @ rotations_about(wanted * turns[:, None]) @ start


def _awkwardness(rotation: Array, wrist: Array, camera: Array, elbow: Array) -> Array:
    """(N,) cost of right-hand rotations (N, 3, 3) with wrists at (N, 3)."""
    view = np.einsum("nij,i->nj", rotation, camera)
    # Hands seen along the arm from behind, or from the palm, are hard to read.
    unreadable = 9.0 * np.maximum(0, -0.20 - view[:, 0]) ** 2 + 6.0 * np.maximum(0, 0.50 - view[:, 2]) ** 2
    flexion, deviation = wrist_angles(wrist - elbow, rotation)
    (low_f, high_f), (low_d, high_d) = _WRIST_LIMITS
    beyond = np.maximum(0, flexion - high_f * 0.8) + np.maximum(0, low_f * 0.8 - flexion)
    beyond_d = np.maximum(0, deviation - high_d * 0.8) + np.maximum(0, low_d * 0.8 - deviation)
    bent = 4.0 * beyond**2 + 5.0 * beyond_d**2 + 0.25 * flexion**2 + 0.5 * deviation**2
    # Palms seldom face up or away from the body's middle.
    supinated = (
        3.0 * np.maximum(0, 0.15 - rotation[:, 2, 2]) ** 2 + 2.0 * np.maximum(0, rotation[:, 0, 2] * -1 - 0.25) ** 2
    )
    return 4.0 * unreadable + bent + supinated


def _landmarks(posture: Posture) -> Array:
    origins, rotations = bone_frames(posture)
    return np.stack([origins[bone] + rotations[bone] @ offset for bone, offset in keypoint_sites()])


@dataclass(frozen=True)
class Timing:
    """When a step's phases begin, in frames (the clip has 16).

    Attributes:
        enter: the hand starts from outside the picture.
        arrive: it is at the prop.
        closed: it holds.
        there: the prop is at its goal.
        opened: it has let go.
        gone: it is outside the picture again (may lie beyond the clip).
    """

    enter: float
    arrive: float
    closed: float
    there: float
    opened: float
    gone: float


def sample_timing(rng: np.random.Generator, *, pressing: bool = False) -> Timing:
    """Random but orderly times."""
    arrive = rng.uniform(4.0, 4.8)
    closed = arrive + (0.3 if pressing else rng.uniform(0.7, 1.1))
    there = rng.uniform(9.6, 10.7) - (2.0 if pressing else 0.0)
    opened = there + rng.uniform(0.6, 1.0)
    return Timing(rng.uniform(-0.8, -0.1), arrive, closed, there, opened, opened + rng.uniform(3.2, 4.2))


@dataclass(frozen=True)
class Lift:
    """How far things are lifted on the way, metres.

    Attributes:
        hover: the hand above the prop before it comes down on it.
        carry: height above the table that the prop's held point reaches while it is carried.
        rise: the hand above the prop after letting go.
        sway: (2,) sideways bow of approach and carry.
    """

    hover: float
    carry: float
    rise: float
    sway: Array


def progress(t: float, start: float, end: float) -> float:
    """Minimum-jerk progress at time ``t`` of a movement from ``start`` to ``end``."""
    return float(minimum_jerk((t - start) / max(end - start, 1e-6)))


def carried_point(start: Array, end: Array, u: float, height: float, sway: float) -> Array:
    """Where a lifted prop's held point is, (3,), at the share ``u`` in [0, 1] of the carrying time.

    It goes up to ``height`` first, across, and down at last, all smoothly.
    """
    across = progress(u, 0.10, 0.88)
    middle = start + (end - start) * across
    middle[2] = start[2] + (height - start[2]) * progress(u, 0.0, 0.45) + (end[2] - height) * progress(u, 0.55, 1.0)
    direction = end[:2] - start[:2]
    side = np.array([-direction[1], direction[0]])
    middle[:2] += side * sway * 4 * across * (1 - across)
    return middle


def approached_point(outside: Array, spot: Array, u: float, hover: float, sway: float) -> Array:
    """Where the holding point is, (3,), at the share ``u`` of the way from outside the picture to the prop."""
    across = progress(u, 0.0, 0.90)
    down = 1.0 - progress(u, 0.50, 1.0)
    place = outside + (spot - outside) * across
    place[2] = outside[2] + (spot[2] - outside[2]) * across + hover * down * progress(u, 0.0, 0.5)
    place[0] += sway * 4 * across * (1 - across)
    return place


def obstacle_height(start: Array, end: Array, boxes: NDArray[np.float64], margin: float) -> float:
    """Highest top, metres, of the boxes (N, 2, 3: low and high corners) that a straight way passes over, or 0."""
    if not len(boxes):
        return 0.0
    along = np.linspace(0, 1, 25)[:, None]
    way = start[None, :2] * (1 - along) + end[None, :2] * along
    inside = np.all(
        (way[:, None] > boxes[None, :, 0, :2] - margin) & (way[:, None] < boxes[None, :, 1, :2] + margin), axis=-1
    ).any(axis=0)
    return float(boxes[inside, 1, 2].max()) if inside.any() else 0.0
