"""A Workbench scene with a person's two hands in it, compiled, and what can be measured and seen there."""

from __future__ import annotations

import colorsys

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.hand.model import Dress, Hand, add_hand
from ksgen_envs.hand.skeleton import HandShape, Side
from ksgen_envs.offscreen import Pictures
from ksgen_envs.workbench import Workbench
from ksgen_models.demonstration import Camera, HandLook
from ksgen_models.types import LEFT, RIGHT

SIDES: tuple[Side, ...] = ("left", "right")
SLOT: dict[Side, int] = {"left": LEFT, "right": RIGHT}
_HIDDEN_BEHIND = 0.015  # metres in front of a keypoint at which something hides it
_HIDDEN_BEHIND_ITSELF = 0.028  # the same for the finger (and palm) that it lies inside of

# From light to dark, sRGB.
_SKINS = np.array(
    [
        [0.96, 0.82, 0.73],
        [0.92, 0.75, 0.64],
        [0.87, 0.68, 0.55],
        [0.80, 0.60, 0.46],
        [0.71, 0.51, 0.38],
        [0.60, 0.41, 0.30],
        [0.48, 0.32, 0.23],
        [0.37, 0.24, 0.18],
    ]
)


def sample_person(seed: int) -> tuple[HandLook, HandShape, Dress]:
    """The person of a scene: skin from a wide palette, a sleeve or a bare forearm, hands a little large or small."""
    rng = np.random.default_rng([seed, 7919])
    place = rng.uniform(0, len(_SKINS) - 1)
    low = int(place)
    tone = _SKINS[low] + (place - low) * (_SKINS[min(low + 1, len(_SKINS) - 1)] - _SKINS[low])
    skin = np.clip(tone * rng.uniform(0.96, 1.04) * rng.uniform(0.97, 1.03, 3), 0, 1)
    bare = rng.random() < 0.25
    sleeve = (
        skin if bare else np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.75), rng.uniform(0.15, 0.95)))
    )
    shape = HandShape(float(rng.uniform(0.94, 1.06)), float(rng.choice([0.94, 1.0, 1.06])))
    dress = Dress(cuff=0.40 if bare else float(rng.uniform(0.035, 0.15)))
    return HandLook(tuple(map(float, skin)), tuple(map(float, sleeve))), shape, dress  # type: ignore[arg-type]


class Stage:
    """A scene and both hands, compiled.

    Args:
        bench: a scene whose spec is not used for anything else.
        look, shape, dress: of the person.

    Attributes:
        bench, shape, model, data, camera: as named.
        hands: by side.
    """

    def __init__(self, bench: Workbench, look: HandLook, shape: HandShape, dress: Dress) -> None:
        self.bench, self.shape = bench, shape
        for side in SIDES:
            add_hand(bench.spec, side, look, shape, dress)
        self.model: mujoco.MjModel
        self.data: mujoco.MjData
        self.model, self.data = bench.start()
        self.hands: dict[Side, Hand] = {side: Hand(self.model, self.data, side, shape) for side in SIDES}
        for hand in self.hands.values():
            hand.hide()
        self.refresh()
        self.camera: Camera = bench.camera(self.model, self.data)
        self._pictures: Pictures | None = None
        self._hand_bodies = np.concatenate([hand.body_ids for hand in self.hands.values()])

    @property
    def eye(self) -> NDArray[np.float64]:
        """(3,) the camera's place in the world."""
        rotation, translation = self.camera.world_to_camera[:, :3], self.camera.world_to_camera[:, 3]
        return -rotation.T @ translation

    def refresh(self) -> None:
        """Compute kinematics, sensors and effects after something was moved."""
        mujoco.mj_forward(self.model, self.data)
        self.bench.apply_effects(self.model, self.data)

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 from the robot's camera."""
        if self._pictures is None:
            self._pictures = Pictures(self.model, self.bench.camera_name, self.bench.image_size)
        return self._pictures.take(self.data)

    def close(self) -> None:
        """Free the renderer's memory, if anything was drawn."""
        if self._pictures is not None:
            self._pictures.close()

    def geoms_of(self, body: str) -> NDArray[np.int32]:
        """Ids of the geoms that hang on a body."""
        return np.flatnonzero(self.model.geom_bodyid == self.model.body(body).id).astype(np.int32)

    def boxes(self, without: NDArray[np.int32] | None = None) -> NDArray[np.float64]:
        """(N, 2, 3) low and high corners of the axis-aligned boxes of every prop's geoms but ``without``."""
        model, data = self.model, self.data
        keep = ~np.isin(model.geom_bodyid, self._hand_bodies) & (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        if without is not None:
            keep[without] = False
        ids = np.flatnonzero(keep)
        rotation = data.geom_xmat[ids].reshape(-1, 3, 3)
        middle = data.geom_xpos[ids] + np.einsum("nij,nj->ni", rotation, model.geom_aabb[ids, :3])
        half = np.einsum("nij,nj->ni", np.abs(rotation), model.geom_aabb[ids, 3:])
        return np.stack([middle - half, middle + half], axis=1)

    def keypoints(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Keypoints (2, 21, 3), x and y normalised and z in metres, NaN where absent, and which are seen (2, 21)."""
        points = np.full((2, 21, 3), np.nan, np.float32)
        seen = np.zeros((2, 21), bool)
        for side, hand in self.hands.items():
            if not hand.present:
                continue
            world = hand.keypoints()
            image = self.camera.project(world)
            image[:, :2] /= self.bench.image_size
            inside = np.all((image[:, :2] >= 0) & (image[:, :2] < 1), axis=1)
            points[SLOT[side]] = image
            seen[SLOT[side]] = inside & ~self._hidden(hand, world, inside)
        return points, seen

    def _hidden(self, hand: Hand, world: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # A ray from the camera that ends well before the keypoint met something in front of it.
        hidden = np.zeros(len(world), bool)
        groups = np.array([1, 1, 1, 0, 1, 0], np.uint8)
        met = np.zeros(1, np.int32)
        eye = self.eye
        for index in np.flatnonzero(which):
            way = world[index] - eye
            distance = float(np.linalg.norm(way))
            reach = mujoco.mj_ray(self.model, self.data, eye, way / distance, groups, 1, -1, met)
            if reach < 0:
                continue
            itself = self.model.geom_bodyid[met[0]] in hand.bodies_at(int(index))
            hidden[index] = reach < distance - (_HIDDEN_BEHIND_ITSELF if itself else _HIDDEN_BEHIND)
        return hidden
