"""The bones of a human hand: proportions, joint angles and forward kinematics, in numpy.

Hand frame (right hand, origin at the wrist): x towards the fingers, y towards the thumb, z out of the back of the
hand. A left hand is the right hand mirrored in y. Metres and radians.

Proportions follow an adult hand 185 mm long from wrist to middle fingertip (Buryanov & Kotiuk, "Proportions of hand
segments", Int. J. Morphol. 2010, for the phalanx ratios).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["left", "right"]
Array = NDArray[np.float64]

BONES: tuple[str, ...] = (
    "palm", "forearm",
    "thumb0", "thumb1", "thumb2",
    "index0", "index1", "index2",
    "middle0", "middle1", "middle2",
    "ring0", "ring1", "ring2",
    "little0", "little1", "little2",
)  # fmt: skip
PALM, FOREARM = 0, 1
FINGERS = ("index", "middle", "ring", "little")

# Knuckle (MCP) centres in the hand frame, and the three phalanges' lengths and radii (at both ends of each bone).
KNUCKLES = np.array([[0.090, 0.0280, 0.001], [0.094, 0.0070, 0.003], [0.088, -0.0130, 0.001], [0.078, -0.0315, -0.003]])
FINGER_LENGTHS = np.array(
    [[0.0410, 0.0245, 0.0225], [0.0450, 0.0285, 0.0230], [0.0415, 0.0265, 0.0230], [0.0330, 0.0195, 0.0205]]
)
FINGER_RADII = np.array(
    [
        [0.0102, 0.0092, 0.0082, 0.0068],
        [0.0104, 0.0094, 0.0084, 0.0070],
        [0.0098, 0.0089, 0.0079, 0.0066],
        [0.0087, 0.0078, 0.0070, 0.0058],
    ]
)
FINGER_FAN = np.radians([5.0, 0.5, -4.5, -10.0])  # how the fingers fan out at zero spread
THUMB_BASE = np.array([0.020, 0.0240, -0.010])
THUMB_LENGTHS = np.array([0.046, 0.034, 0.0265])
THUMB_RADII = np.array([0.0140, 0.0112, 0.0100, 0.0075])


@dataclass(frozen=True)
class HandShape:
    """How one person's hand differs from the average one.

    Attributes:
        size: overall scale; 0.92 to 1.08 covers most adults.
        thickness: scale of the fingers' and the palm's thickness at equal length; 0.92 to 1.08.
    """

    size: float = 1.0
    thickness: float = 1.0


@dataclass(frozen=True)
class Posture:
    """Joint angles of a hand, in radians.

    Attributes:
        fingers: for index, middle, ring and little finger: (spread, knuckle, middle joint, end joint). Spread is
            positive away from the middle finger on the thumb's side; flexion is positive.
        thumb: (radial, palmar, roll, knuckle, end joint). Radial and palmar give the metacarpal's direction away from
            the hand's x axis in and out of the palm's plane (a saddle joint), roll turns the thumb's nail away from
            the back of the hand, which opposes the thumb to the fingers.
        wrist: (flexion, deviation) of the hand against the forearm; positive bends to the palm and to the thumb.
    """

    fingers: tuple[tuple[float, float, float, float], ...]
    thumb: tuple[float, float, float, float, float]
    wrist: tuple[float, float] = (0.0, 0.0)

    def vector(self) -> Array:
        """(23,) float64: fingers, thumb, wrist."""
        return np.concatenate([np.ravel(self.fingers), self.thumb, self.wrist])

    @staticmethod
    def from_vector(vector: Array) -> Posture:
        """Inverse of `vector`."""
        fingers = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in np.reshape(vector[:16], (4, 4)))
        radial, palmar, roll, knuckle, end = (float(v) for v in vector[16:21])
        return Posture(fingers, (radial, palmar, roll, knuckle, end), (float(vector[21]), float(vector[22])))

    def with_wrist(self, flexion: float, deviation: float) -> Posture:
        """The same fingers on another wrist."""
        return replace(self, wrist=(flexion, deviation))


def blend(start: Posture, end: Posture, t: float) -> Posture:
    """Straight line between two postures in joint angles; ``t`` in [0, 1]."""
    return Posture.from_vector((1.0 - t) * start.vector() + t * end.vector())


def rotation_x(angle: float) -> Array:
    """(3, 3) rotation about x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(angle: float) -> Array:
    """(3, 3) rotation about y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(angle: float) -> Array:
    """(3, 3) rotation about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def bone_frames(posture: Posture) -> tuple[Array, Array]:
    """Forward kinematics of an average right hand in its hand frame.

    Returns:
        (17, 3) origins (each bone's near end) and (17, 3, 3) rotations (x along the bone), in the order of `BONES`.
        The forearm's frame sits at the wrist and looks along the arm to the hand.
    """
    origins = np.zeros((len(BONES), 3))
    rotations = np.tile(np.eye(3), (len(BONES), 1, 1))
    flexion, deviation = posture.wrist
    rotations[FOREARM] = (rotation_y(flexion) @ rotation_z(deviation)).T
    radial, palmar, roll, knuckle, end = posture.thumb
    origin, rotation = THUMB_BASE, rotation_z(radial) @ rotation_y(palmar) @ rotation_x(-roll)
    for part, turn in enumerate((0.0, knuckle, end)):
        rotation = rotation @ rotation_y(turn)
        origins[2 + part], rotations[2 + part] = origin, rotation
        origin = origin + rotation[:, 0] * THUMB_LENGTHS[part]
    for finger, (spread, *flexions) in enumerate(posture.fingers):
        origin, rotation = KNUCKLES[finger], rotation_z(FINGER_FAN[finger] + spread)
        for part, turn in enumerate(flexions):
            rotation = rotation @ rotation_y(turn)
            bone = 5 + 3 * finger + part
            origins[bone], rotations[bone] = origin, rotation
            origin = origin + rotation[:, 0] * FINGER_LENGTHS[finger, part]
    return origins, rotations


def bone_length(bone: int) -> float:
    """Length of one of `BONES` other than palm and forearm, metres."""
    return float(THUMB_LENGTHS[bone - 2]) if bone < 5 else float(FINGER_LENGTHS[(bone - 5) // 3, (bone - 5) % 3])


def bone_radii(bone: int) -> tuple[float, float]:
    """Radii at the near and far end of one of `BONES` other than palm and forearm, metres."""
    row, part = (THUMB_RADII, bone - 2) if bone < 5 else (FINGER_RADII[(bone - 5) // 3], (bone - 5) % 3)
    return float(row[part]), float(row[part + 1])


def keypoint_sites() -> tuple[tuple[int, Array], ...]:
    """Bone and offset in its frame of each of MediaPipe's 21 landmarks, in MediaPipe's order."""
    sites: list[tuple[int, Array]] = [(PALM, np.array([0.002, 0.0, 0.0]))]
    tip = np.array([-0.004, 0.0, 0.0])
    sites += [(2, np.zeros(3)), (3, np.zeros(3)), (4, np.zeros(3)), (4, np.array([THUMB_LENGTHS[2], 0, 0]) + tip)]
    for finger in range(4):
        first = 5 + 3 * finger
        sites += [(first + part, np.zeros(3)) for part in range(3)]
        sites.append((first + 2, np.array([FINGER_LENGTHS[finger, 2], 0, 0]) + tip))
    return tuple(sites)


def pad(bone: int, posture: Posture) -> tuple[Array, Array]:
    """Middle of a fingertip's pad and its outward normal, (3,) each, in the hand frame of an average right hand.

    Args:
        bone: an end bone, 4 for the thumb, 7 for the index finger.
        posture: joint angles.
    """
    origins, rotations = bone_frames(posture)
    near, far = bone_radii(bone)
    along = 0.62
    local = np.array([along * bone_length(bone), 0.0, -(near + along * (far - near))])
    return origins[bone] + rotations[bone] @ local, -rotations[bone][:, 2]


OPEN = Posture(
    fingers=((0.10, 0.10, 0.12, 0.06), (0.02, 0.10, 0.12, 0.06), (-0.05, 0.10, 0.14, 0.06), (-0.12, 0.12, 0.16, 0.08)),
    thumb=(0.75, 0.30, 0.9, 0.10, 0.10),
)
RELAXED = Posture(
    fingers=((0.03, 0.35, 0.45, 0.22), (0.0, 0.42, 0.52, 0.26), (-0.02, 0.48, 0.56, 0.28), (-0.05, 0.52, 0.58, 0.30)),
    thumb=(0.55, 0.50, 1.0, 0.20, 0.25),
)
POINT = Posture(
    fingers=((0.0, 0.45, 0.22, 0.10), (0.0, 1.00, 1.25, 0.60), (0.0, 1.10, 1.35, 0.65), (0.0, 1.15, 1.35, 0.65)),
    thumb=(0.30, 0.75, 1.2, 0.35, 0.50),
)
BIND = Posture(
    fingers=((0.10, 0.0, 0.12, 0.05), (0.01, 0.0, 0.12, 0.05), (-0.08, 0.0, 0.12, 0.05), (-0.17, 0.0, 0.12, 0.05)),
    thumb=(0.72, 0.42, 1.0, 0.12, 0.12),
)
