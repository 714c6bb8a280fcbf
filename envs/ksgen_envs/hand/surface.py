"""The skin of a human hand: a smooth surface polygonised from a signed distance field, with skinning weights.

The field is a smooth union (polynomial smooth minimum, I. Quilez) of tapered capsules for the phalanges, flattened
ones for the palm with its thenar and hypothenar pads, and an elliptic cone for the wrist and forearm. It is taken in
the `BIND` posture, where the fingers do not touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.hand.skeleton import (
    BIND,
    BONES,
    FINGER_RADII,
    FOREARM,
    KNUCKLES,
    PALM,
    Array,
    bone_frames,
    bone_length,
    bone_radii,
)

VOXEL = 0.0031
FOREARM_LENGTH = 0.46
_SKIN_ARM = 0.12  # the polygonised part of the forearm; the rest is a plain cone


@dataclass(frozen=True)
class Surface:
    """A skin in the bind posture of an average right hand.

    Attributes:
        vertices: (V, 3) float64 metres, hand frame.
        faces: (F, 3) int32, outward counter-clockwise.
        weights: (17, V) float64, columns sum to 1.
        shade: (V, 2) float64 in [0, 1]: how dark (creases), how pale (nails).
    """

    vertices: Array
    faces: NDArray[np.int32]
    weights: Array
    shade: Array


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Smooth union of two distance fields, blended over ``k`` metres."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0.0, 1.0)
    return b + (a - b) * h - k * h * (1.0 - h)


def _capsule(points: Array, start: Array, end: Array, r0: float, r1: float, flat: float = 1.0) -> Array:
    # A tapered capsule; flat < 1 squeezes it along z.
    scale = np.array([1.0, 1.0, 1.0 / flat])
    p, a, b = points * scale, start * scale, end * scale
    axis = b - a
    t = np.clip((p - a) @ axis / (axis @ axis), 0.0, 1.0)
    return (np.linalg.norm(p - a - t[..., None] * axis, axis=-1) - (r0 + (r1 - r0) * t)) * (0.5 + 0.5 * flat)


def _arm(points: Array, thick: float) -> Array:
    # Elliptic cone along the forearm that thins out inside the palm.
    t = np.clip(-points[..., 0] / FOREARM_LENGTH, 0.0, 1.0)
    across, deep = arm_radii(t)
    into = np.clip((points[..., 0] + 0.020) / 0.065, 0.0, 1.0)
    into = into * into * (3.0 - 2.0 * into)
    ry = across * (0.5 + 0.5 * thick) * (1.0 - 0.50 * into)
    rz = deep * thick * (1.0 - 0.60 * into)
    radial = np.sqrt((points[..., 1] / ry) ** 2 + ((points[..., 2] + 0.001) / rz) ** 2)
    return np.maximum((radial - 1.0) * rz, points[..., 0] - 0.040)


def arm_radii(t: Array) -> tuple[Array, Array]:
    """Half-widths (side to side, front to back) of the arm, metres, at ``t`` in [0, 1] from the wrist backwards."""
    swell = np.clip(t / 0.55, 0.0, 1.0)
    swell = swell * swell * (3 - 2 * swell)
    return 0.0270 + 0.017 * swell, 0.0195 + 0.020 * swell


def hand_field(points: Array, thickness: float) -> Array:
    """Signed distance (...,) in metres to the skin of an average right hand in the bind posture."""
    origins, rotations = bone_frames(BIND)

    def bone(index: int, grow: float = 1.0) -> Array:
        r0, r1 = bone_radii(index)
        tip = index in (4, 7, 10, 13, 16)
        # A capsule's cap adds its radius; end bones stop short so that the finger keeps its length.
        end = origins[index] + rotations[index][:, 0] * (bone_length(index) - (r1 * 0.8 if tip else 0.0))
        return _capsule(points, origins[index], end, r0 * thickness * grow, r1 * thickness * grow)

    palm = None
    roots = np.array([[0.010, 0.014, 0.0], [0.008, 0.004, 0.002], [0.008, -0.007, 0.001], [0.010, -0.016, -0.001]])
    for finger in range(4):
        wide = FINGER_RADII[finger, 0] * 1.12
        part = _capsule(
            points, roots[finger], KNUCKLES[finger] - [0.004, 0, 0.0025], 0.0135, wide, flat=0.98 * thickness
        )
        palm = part if palm is None else smooth_min(palm, part, 0.012)
    assert palm is not None
    thumb_end = origins[2] + rotations[2][:, 0] * bone_length(2)
    thenar = _capsule(points, np.array([0.016, 0.014, -0.010]), thumb_end * 0.85 + KNUCKLES[0] * 0.15, 0.0160, 0.0105)
    hypothenar = _capsule(points, np.array([0.014, -0.018, -0.007]), np.array([0.060, -0.031, -0.007]), 0.0135, 0.0105)
    pads = _capsule(points, np.array([0.080, 0.024, -0.007]), np.array([0.072, -0.026, -0.008]), 0.0085, 0.0080)
    web = _capsule(points, 0.55 * thumb_end + 0.45 * origins[2], np.array([0.062, 0.022, -0.004]), 0.0075, 0.0080)
    palm = smooth_min(palm, thenar, 0.014)
    palm = smooth_min(palm, hypothenar, 0.012)
    palm = smooth_min(palm, pads, 0.010)
    palm = smooth_min(palm, web, 0.016)
    field = smooth_min(palm, _arm(points, thickness), 0.022)
    fingers = np.full(points.shape[:-1], np.inf)
    for finger in range(4):
        first = 5 + 3 * finger
        chain = smooth_min(smooth_min(bone(first), bone(first + 1), 0.004), bone(first + 2), 0.004)
        # Joints are a little wider than the shafts between them.
        for joint in (first + 1, first + 2):
            r = bone_radii(joint)[0] * thickness * 1.01
            chain = smooth_min(chain, np.linalg.norm(points - origins[joint], axis=-1) - r, 0.004)
        fingers = np.minimum(fingers, chain)
    field = smooth_min(field, fingers, 0.007)
    thumb = smooth_min(smooth_min(bone(2, 0.93), bone(3), 0.006), bone(4), 0.005)
    thumb = smooth_min(thumb, np.linalg.norm(points - origins[4], axis=-1) - THUMB_JOINT * thickness, 0.004)
    return smooth_min(field, thumb, 0.009)


THUMB_JOINT = 0.0106


@lru_cache(maxsize=8)
def hand_surface(thickness: float = 1.0) -> Surface:
    """Polygonise the skin once per process and thickness (skimage's marching cubes)."""
    from skimage.measure import marching_cubes

    low, high = np.array([-_SKIN_ARM, -0.075, -0.085]), np.array([0.200, 0.115, 0.040])
    axes = [np.arange(a, b, VOXEL) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    field = hand_field(grid, thickness)
    vertices, faces, _, _ = marching_cubes(field, 0.0, spacing=(VOXEL, VOXEL, VOXEL))
    vertices = vertices + low
    # The forearm's rings: the open end of the polygonised arm is drawn out to the elbow.
    end = vertices[:, 0] < -_SKIN_ARM + 1e-6
    vertices = _project(vertices, thickness, ~end)
    normals = _normals(vertices, thickness)
    faces = _outward(vertices, faces, normals)
    weights = _skin_weights(vertices, thickness)
    return Surface(vertices, faces.astype(np.int32), weights, _shade(vertices, normals))


def _project(vertices: Array, thickness: float, which: NDArray[np.bool_]) -> Array:
    # Marching cubes leaves small steps; one Newton step along the gradient removes most of them.
    moved = vertices.copy()
    moved[which] -= _normals(vertices[which], thickness) * hand_field(vertices[which], thickness)[:, None] * 0.8
    return moved


def _normals(vertices: Array, thickness: float) -> Array:
    step = 5e-4
    gradient = np.stack(
        [
            hand_field(vertices + step * axis, thickness) - hand_field(vertices - step * axis, thickness)
            for axis in np.eye(3)
        ],
        axis=-1,
    )
    return gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)


def _outward(vertices: Array, faces: NDArray[np.int32], normals: Array) -> NDArray[np.int32]:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    inward = np.mean(np.sum(np.cross(b - a, c - a) * normals[faces[:, 0]], axis=-1)) < 0
    return faces[:, ::-1] if inward else faces


def _skin_weights(vertices: Array, thickness: float) -> Array:
    origins, rotations = bone_frames(BIND)
    distance = np.empty((len(BONES), len(vertices)))
    for bone in range(2, len(BONES)):
        r0, r1 = bone_radii(bone)
        start, end = origins[bone], origins[bone] + rotations[bone][:, 0] * bone_length(bone)
        distance[bone] = _capsule(vertices, start, end, r0 * thickness, r1 * thickness)
    palm = np.full(len(vertices), np.inf)
    for finger in range(4):
        near = np.array([0.0, 0.6 * KNUCKLES[finger, 1], 0.0])
        palm = np.minimum(palm, _capsule(vertices, near, KNUCKLES[finger] - [0.002, 0, 0], 0.0125, 0.0105))
    distance[PALM] = palm
    distance[FOREARM] = np.inf
    width = np.full((len(BONES), 1), 0.0016)
    width[2] = 0.0040  # the thenar pad follows the thumb's metacarpal gradually
    weights = np.exp(-(distance - distance.min(axis=0)) / width)
    # Nothing but a finger's own chain and the palm may pull at its skin.
    chain = np.array([0, 0, 1, 1, 1, *np.repeat([2, 3, 4, 5], 3)])
    owner = chain[distance.argmin(axis=0)]
    allowed = (chain[:, None] == owner[None]) | (chain[:, None] == 0) | (owner[None] == 0)
    weights *= allowed
    weights /= weights.sum(axis=0)
    # The wrist bends over four centimetres.
    t = np.clip((vertices[:, 0] + 0.022) / 0.044, 0.0, 1.0)
    hand = t * t * (3 - 2 * t)
    weights *= hand
    weights[FOREARM] = 1.0 - hand
    weights[weights < 0.02] = 0.0
    return weights / weights.sum(axis=0)


def _shade(vertices: Array, normals: Array) -> Array:
    origins, rotations = bone_frames(BIND)
    dark, pale = np.zeros(len(vertices)), np.zeros(len(vertices))
    for tip in (4, 7, 10, 13, 16):
        local = (vertices - origins[tip]) @ rotations[tip]
        facing = (normals @ rotations[tip])[:, 2]
        length, radius = bone_length(tip), bone_radii(tip)[1]
        oval = ((local[:, 0] - 0.70 * length) / (0.27 * length)) ** 2 + (local[:, 1] / (0.85 * radius)) ** 2
        near = (np.abs(local[:, 2]) < 0.02) & (facing > 0.25)
        pale = np.maximum(pale, near * np.clip(1.6 - oval, 0.0, 1.0))
        dark = np.maximum(dark, near * 0.6 * np.clip(1.0 - np.abs(oval - 1.5) / 0.5, 0.0, 1.0))
    for bone in range(3, len(BONES)):
        local = (vertices - origins[bone]) @ rotations[bone]
        facing = (normals @ rotations[bone])[:, 2]
        radius = bone_radii(bone)[0]
        inside = np.linalg.norm(local, axis=-1) < 2.1 * radius
        knuckle = bone in (5, 8, 11, 14)
        back = np.exp(-((local[:, 0] / (0.0050 if knuckle else 0.0038)) ** 2)) * np.clip(facing, 0, 1)
        front = np.exp(-((local[:, 0] / 0.0020) ** 2)) * np.clip(-facing, 0, 1)
        dark = np.maximum(
            dark, inside * np.maximum((0.30 if knuckle else 0.65) * back, 0.0 if knuckle else 0.8 * front)
        )
    # Light hardly reaches the webs between the fingers.
    for finger in range(3):
        web = 0.5 * (KNUCKLES[finger] + KNUCKLES[finger + 1]) + np.array([0.022, 0.0, -0.002])
        dark = np.maximum(dark, 0.55 * np.exp(-np.sum(((vertices - web) / [0.014, 0.006, 0.012]) ** 2, axis=-1)))
    return np.clip(np.stack([dark, pale], axis=-1), 0.0, 1.0)
