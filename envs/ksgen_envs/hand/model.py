"""A hand in a MuJoCo model: bones as mocap bodies, a textured skin over them, sites, and capsules to touch with.

The bones are mocap bodies, so a hand adds no joints and no contacts: it changes neither ``qpos`` nor the physics of
the scene it is put into. `Hand.set` places every bone by forward kinematics.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.hand.skeleton import (
    BIND,
    BONES,
    FOREARM,
    KNUCKLES,
    PALM,
    Array,
    HandShape,
    Posture,
    Side,
    bone_frames,
    bone_length,
    bone_radii,
    keypoint_sites,
)
from ksgen_envs.hand.surface import FOREARM_LENGTH, arm_radii, hand_surface
from ksgen_models.demonstration import HandLook

HIDDEN = np.array([0.0, 0.0, -3.0])
_COLLISION_GROUP = 4
_RAMP = 32  # texels of the skin's colour table
_MIRROR = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Dress:
    """How the forearm is dressed.

    Attributes:
        cuff: metres from the wrist back to the sleeve's end.
    """

    cuff: float = 0.06


def body_name(side: Side, bone: str) -> str:
    """MJCF name of a bone; the palm's is the hand's."""
    return f"hand_{side}" if bone == "palm" else f"hand_{side}_{bone}"


def add_hand(spec: mujoco.MjSpec, side: Side, look: HandLook, shape: HandShape, dress: Dress | None = None) -> None:
    """Add a hand, hidden below the scene, to a model that is not compiled yet.

    Adds 17 mocap bodies (``hand_<side>`` is the palm, ``hand_<side>_<bone>`` the others), 21 sites
    ``hand_<side>_keypoint<i>`` in MediaPipe's order, a skin, a sleeve, and invisible capsules that collide with
    nothing in the physics.

    Args:
        spec: the model.
        side: which hand.
        look: skin and sleeve colours.
        shape: proportions.
        dress: where the sleeve ends.
    """
    mirror = _MIRROR if side == "left" else np.ones(3)
    origins, rotations = bone_frames(BIND)
    bodies = []
    for bone in BONES:
        body = spec.worldbody.add_body(name=body_name(side, bone), mocap=True, pos=HIDDEN)
        bodies.append(body)
    for index, (bone, offset) in enumerate(keypoint_sites()):
        bodies[bone].add_site(
            name=f"hand_{side}_keypoint{index}", pos=offset * mirror * shape.size, size=[0.002] * 3, group=5
        )
    for bone in range(2, len(BONES)):
        _add_capsule(bodies[bone], side, bone, shape)
    for finger, knuckle in enumerate(KNUCKLES):
        _add_metacarpal(bodies[PALM], side, finger, knuckle * mirror, shape)
    _add_skin(spec, side, look, shape, origins, rotations, mirror)
    _add_arm(spec, bodies[FOREARM], side, look, shape, dress or Dress())


def _add_capsule(body: mujoco.MjsBody, side: Side, bone: int, shape: HandShape) -> None:
    near, far = bone_radii(bone)
    radius = 0.5 * (near + far) * 0.92 * shape.size * shape.thickness
    length = bone_length(bone) * shape.size
    start, end = 0.3 * radius, max(length - (radius if bone in (4, 7, 10, 13, 16) else 0.0), 0.4 * length)
    body.add_geom(
        name=f"hand_{side}_touch_{BONES[bone]}",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[start, 0, 0, end, 0, 0],
        size=[radius, 0, 0],
        contype=0,
        conaffinity=0,
        group=_COLLISION_GROUP,
        mass=0,
    )


def _add_metacarpal(body: mujoco.MjsBody, side: Side, finger: int, knuckle: Array, shape: HandShape) -> None:
    body.add_geom(
        name=f"hand_{side}_touch_palm{finger}",
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=np.concatenate([knuckle * [0.12, 0.5, 0.0], knuckle * [0.92, 1, 1]]) * shape.size,
        size=[0.0105 * shape.size * shape.thickness, 0, 0],
        contype=0,
        conaffinity=0,
        group=_COLLISION_GROUP,
        mass=0,
    )


def _add_skin(
    spec: mujoco.MjSpec,
    side: Side,
    look: HandLook,
    shape: HandShape,
    origins: Array,
    rotations: Array,
    mirror: Array,
) -> None:
    surface = hand_surface(round(shape.thickness, 2))
    material = f"hand_{side}_skin"
    _add_material(spec, material, np.array(look.skin))
    vertices = surface.vertices * mirror * shape.size
    faces = surface.faces if side == "right" else surface.faces[:, ::-1]
    # Texture column is darkness, row is paleness; half a texel in, so that nothing wraps around.
    texcoord = (0.5 + surface.shade * (_RAMP - 1)) / _RAMP
    skin = spec.add_skin()
    skin.name = f"hand_{side}_skin"
    skin.material = material
    skin.vert = vertices.ravel().astype(np.float32).tolist()
    skin.texcoord = texcoord.ravel().astype(np.float32).tolist()
    skin.face = faces.ravel().tolist()
    skin.bodyname = [body_name(side, bone) for bone in BONES]
    skin.bindpos = (origins * mirror * shape.size).ravel().astype(np.float32).tolist()
    skin.bindquat = np.concatenate([_quaternion(_mirrored(r, side)) for r in rotations]).astype(np.float32).tolist()
    used = [np.flatnonzero(row > 0) for row in surface.weights]
    skin.vertid = [ids.tolist() for ids in used]
    skin.vertweight = [row[ids].tolist() for row, ids in zip(surface.weights, used, strict=True)]


def _add_material(spec: mujoco.MjSpec, name: str, skin: Array) -> None:
    crease = skin * np.array([0.58, 0.44, 0.40])
    nail = np.clip(skin * 0.60 + np.array([0.40, 0.30, 0.29]), 0, 1)
    dark = np.linspace(0, 1, _RAMP)[None, :, None]
    pale = np.linspace(0, 1, _RAMP)[:, None, None]
    pixels = ((skin * (1 - dark) + crease * dark) * (1 - pale) + nail * (1 - 0.3 * dark) * pale) * 255
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=_RAMP, height=_RAMP, nchannel=3)
    texture.data = np.clip(pixels, 0, 255).astype(np.uint8).tobytes()
    material = spec.add_material(name=name, specular=0.12, shininess=0.25, rgba=[1, 1, 1, 1])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def _add_arm(
    spec: mujoco.MjSpec, body: mujoco.MjsBody, side: Side, look: HandLook, shape: HandShape, dress: Dress
) -> None:
    # The bare arm behind the polygonised part, and the sleeve around it with a thick cuff.
    arm = _tube(np.linspace(0.110, FOREARM_LENGTH, 8), np.full(8, -0.0003), shape)
    back = np.linspace(min(dress.cuff + 0.012, FOREARM_LENGTH - 0.02), FOREARM_LENGTH, 8)
    along = np.concatenate([[dress.cuff + 0.004, dress.cuff, dress.cuff], back])
    folds = 0.0085 + 0.0012 * np.sin(np.linspace(0, 17, len(back)))
    sleeve = _tube(along, np.concatenate([[0.001, 0.006, 0.0080], folds]), shape)
    for part, (vertices, faces), colour in (("arm", arm, look.skin), ("sleeve", sleeve, look.sleeve)):
        name = f"hand_{side}_{part}"
        mesh = spec.add_mesh(name=name)
        mesh.uservert = vertices.ravel().tolist()
        mesh.userface = faces.ravel().tolist()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        spec.add_material(name=name, specular=0.1, shininess=0.1, rgba=[*colour, 1])
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=name,
            material=name,
            contype=0,
            conaffinity=0,
            group=2,
            mass=0,
        )


def _tube(along: Array, grow: Array, shape: HandShape) -> tuple[Array, NDArray[np.int32]]:
    # Rings around the forearm's -x axis at distances `along` from the wrist, `grow` metres outside the arm's skin.
    sides = 28
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    across, deep = arm_radii(along / FOREARM_LENGTH)
    across = across * (0.5 + 0.5 * shape.thickness) + grow
    deep = deep * shape.thickness + grow
    rings = np.stack(
        [
            np.repeat(-along[:, None], sides, axis=1),
            across[:, None] * np.cos(angle),
            deep[:, None] * np.sin(angle) - 0.001,
        ],
        axis=-1,
    )
    faces = []
    for ring in range(len(along) - 1):
        for i in range(sides):
            a, b = ring * sides + i, ring * sides + (i + 1) % sides
            faces += [(a, a + sides, b), (b, a + sides, b + sides)]
    return rings.reshape(-1, 3) * shape.size, np.array(faces, np.int32)


def _mirrored(rotation: Array, side: Side) -> Array:
    flip = np.diag(_MIRROR)
    return flip @ rotation @ flip if side == "left" else rotation


def _quaternion(rotation: Array) -> Array:
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).ravel())
    return quat


class Hand:
    """Moves one hand of a compiled model.

    Args:
        model: a model that `add_hand` was called on.
        data: its data; `set` and `hide` write ``mocap_pos`` and ``mocap_quat``, and the skin's opacity.
        side: which hand.
        shape: as given to `add_hand`.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, side: Side, shape: HandShape | None = None) -> None:
        self.model, self.data, self.side = model, data, side
        self.shape = shape or HandShape()
        ids = [model.body(body_name(side, bone)).id for bone in BONES]
        self._mocap = model.body_mocapid[ids]
        self.body_ids = np.array(ids)
        self._sites = keypoint_sites()
        self._touch = np.array([model.geom(f"hand_{side}_touch_{bone}").id for bone in BONES[2:]])
        self._keypoints: Array = np.full((21, 3), np.nan)
        self._state: tuple[Array, Array] | None = None
        self._skin = int(np.flatnonzero([model.skin(i).name == f"hand_{side}_skin" for i in range(model.nskin)])[0])

    @property
    def present(self) -> bool:
        """Whether the hand is set somewhere, not hidden."""
        return self._state is not None

    def set(self, position: Array, rotation: Array, posture: Posture) -> None:
        """Put the wrist at ``position`` (3,) with ``rotation`` (3, 3) or (4,) quaternion and the fingers in posture.

        For a left hand give the rotation of the left hand's frame (x to the fingers, y away from the thumb's side,
        z out of the back).
        """
        rotation = np.asarray(rotation, np.float64)
        if rotation.shape == (4,):
            matrix = np.zeros(9)
            mujoco.mju_quat2Mat(matrix, rotation)
            rotation = matrix.reshape(3, 3)
        self.model.skin_rgba[self._skin, 3] = 1.0
        self._state = (np.asarray(position, np.float64), rotation)
        origins, rotations = bone_frames(posture)
        mirror = _MIRROR if self.side == "left" else np.ones(3)
        flip = np.diag(mirror)
        world = position + (origins * mirror * self.shape.size) @ rotation.T
        turned = rotation @ (flip @ rotations @ flip)
        for index, mocap in enumerate(self._mocap):
            self.data.mocap_pos[mocap] = world[index]
            self.data.mocap_quat[mocap] = _quaternion(turned[index])
        self._keypoints = np.stack(
            [world[bone] + turned[bone] @ (offset * mirror * self.shape.size) for bone, offset in self._sites]
        )

    def hide(self) -> None:
        """Move the hand out of every camera's view."""
        self.data.mocap_pos[self._mocap] = HIDDEN
        # A transparent skin is not drawn at all, which saves its cost.
        self.model.skin_rgba[self._skin, 3] = 0.0
        self._keypoints = np.full((21, 3), np.nan)
        self._state = None

    def keypoints(self) -> Array:
        """(21, 3) float64 world positions in MediaPipe's order; NaN while hidden."""
        return self._keypoints.copy()

    def bodies_at(self, keypoint: int) -> tuple[int, ...]:
        """Ids of the bodies that a keypoint (0 to 20) lies inside of: its finger's, and the palm's at its root."""
        palm, forearm = int(self.body_ids[PALM]), int(self.body_ids[FOREARM])
        if keypoint == 0:
            return (palm, forearm)
        first = 2 + 3 * ((keypoint - 1) // 4)
        chain = tuple(int(body) for body in self.body_ids[first : first + 3])
        return (*chain, palm) if keypoint % 4 == 1 or keypoint == 2 else chain

    def close_on(
        self, geom_ids: NDArray[np.int32], posture: Posture, closed: Posture, *, fingers: tuple[int, ...] = (1, 2, 3)
    ) -> Posture:
        """Close fingers from ``posture`` towards ``closed`` until each touches one of the geoms.

        The hand must be `set`; it is left in the returned posture and the model's kinematics are up to date.

        Args:
            geom_ids: what is to be touched.
            posture: fingers before they close.
            closed: where they would end in empty air.
            fingers: which ones close; 0 index to 3 little finger.
        """
        assert self._state is not None, "set the hand before it closes"
        position, rotation = self._state
        low, high = np.zeros(4), np.ones(4)

        def at(t: Array) -> Posture:
            mixed = tuple(
                tuple((1 - t[i]) * a + t[i] * b for a, b in zip(posture.fingers[i], closed.fingers[i], strict=True))
                if i in fingers
                else posture.fingers[i]
                for i in range(4)
            )
            return Posture(mixed, posture.thumb, posture.wrist)  # type: ignore[arg-type]

        for _ in range(6):
            middle = 0.5 * (low + high)
            self.set(position, rotation, at(middle))
            mujoco.mj_kinematics(self.model, self.data)
            for finger in fingers:
                if self._touches(finger, geom_ids):
                    high[finger] = middle[finger]
                else:
                    low[finger] = middle[finger]
        result = at(low)
        self.set(position, rotation, result)
        mujoco.mj_kinematics(self.model, self.data)
        return result

    def _touches(self, finger: int, geom_ids: NDArray[np.int32]) -> bool:
        capsules = self._touch[3 + 3 * finger : 6 + 3 * finger]
        return any(self.gap(int(capsule), int(geom)) <= 0.0 for capsule in capsules for geom in geom_ids)

    def gap(self, geom: int, other: int, limit: float = 0.05) -> float:
        """Metres between two geoms, negative where they overlap, at most ``limit``."""
        return mujoco.mj_geomDistance(self.model, self.data, geom, other, limit, None)

    @property
    def touch_geoms(self) -> NDArray[np.int64]:
        """Ids of the 15 invisible capsules, thumb first, three a finger."""
        return self._touch.astype(np.int64)
