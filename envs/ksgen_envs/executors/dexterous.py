"""A worked example for dexterous hands: the hand of a key step, on the Shadow hand of gymnasium-robotics.

The library ``dex-retargeting`` finds joint angles at which a robot hand's fingers point from its palm as the person's
fingers do (vector retargeting: Qin et al., "AnyTeleop", RSS 2023). It reads URDF and gymnasium-robotics has MJCF, so
the hand's kinematics are written out as URDF first. Needs the extra ``dexterous``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import KSGenError, NoHandFound
from ksgen_models.types import LEFT, KeyStep

Array = NDArray[np.float64]

_SHADOW = "envs/assets/hand/reach.xml"
_ROOT = "palm"
_FINGERS = ("th", "ff", "mf", "rf", "lf")
_TIPS, _MIDDLES = (4, 8, 12, 16, 20), (2, 6, 10, 14, 18)
_KNUCKLES = {5: "ffknuckle", 9: "mfknuckle", 13: "rfknuckle", 17: "lfknuckle"}


@dataclass(frozen=True)
class DexterousPath:
    """Joint angles of a robot hand through a clip.

    Attributes:
        joint_names: J names, as the hand's model has them.
        times: (N,) seconds from the step's first frame, rising; frames without a hand are left out.
        joints: (N, J) radians, within the joints' limits.
    """

    joint_names: tuple[str, ...]
    times: Array
    joints: Array


class ShadowHandRetargeter:
    """Turns the hand of a key step into joint angles of the Shadow hand in gymnasium-robotics (22 joints, wrist fixed).

    Raises:
        KSGenError: the extra ``dexterous`` is not installed; says what to run.
    """

    def __init__(self) -> None:
        for package in ("dex_retargeting", "gymnasium_robotics", "mujoco"):
            if find_spec(package) is None:
                raise KSGenError(f"{package} is not installed; run: pip install 'ksgen-agent[dexterous]'")
        import mujoco
        from dex_retargeting.retargeting_config import RetargetingConfig  # pyright: ignore[reportMissingImports]

        self.model: Any = mujoco.MjModel.from_xml_path(str(shadow_hand_file()))
        self._prefix = "robot0:"
        links = [f"{finger}tip" for finger in _FINGERS] + [f"{finger}middle" for finger in _FINGERS]
        humans = np.array([[0] * 10, [*_TIPS, *_MIDDLES]])
        with tempfile.TemporaryDirectory() as folder:
            urdf = Path(folder) / "shadow_hand.urdf"
            urdf.write_text(to_urdf(self.model, self._prefix, _ROOT))
            self._solver = RetargetingConfig(
                type="vector",
                urdf_path=str(urdf),
                target_origin_link_names=[_ROOT] * 10,
                target_task_link_names=links,
                target_link_human_indices=humans,
                low_pass_alpha=1.0,
            ).build()
        self._humans = humans
        self._knuckles = self._robot_knuckles()
        names = self._solver.optimizer.robot.dof_joint_names
        self.joint_names: tuple[str, ...] = tuple(self._prefix + name for name in names)

    def retarget(self, step: KeyStep) -> DexterousPath:
        """Joint angles for every frame of a key step in which its working hand is seen.

        A left hand is mirrored: the model is a right hand.

        Raises:
            NoHandFound: no frame shows a hand.
        """
        valid = step.hands.valid & np.isfinite(step.hands.world).all(axis=(2, 3))
        slot = int(np.argmax(valid.sum(axis=0)))
        frames = np.flatnonzero(valid[:, slot])
        if not len(frames):
            raise NoHandFound("no frame of the key step shows a hand")
        world = step.hands.world[frames, slot].astype(np.float64)
        if slot == LEFT:
            world = world * [-1.0, 1.0, 1.0]
        joints = np.stack([self.solve(hand) for hand in world])
        return DexterousPath(self.joint_names, frames / step.fps, joints)

    def solve(self, hand: Array) -> Array:
        """Joint angles (J,) for the landmarks (21, 3) of a right hand, metres in any frame.

        Starts from the angles of the call before, so that a sequence stays smooth.
        """
        fitted = self.in_palm_frame(hand)
        vectors = fitted[self._humans[1]] - fitted[self._humans[0]]
        # The solver oversteps limits by a thousandth of a radian.
        low, high = np.array([self.model.joint(name).range for name in self.joint_names]).T
        return np.clip(np.asarray(self._solver.retarget(vectors), np.float64), low, high)

    def in_palm_frame(self, hand: Array) -> Array:
        """Landmarks (21, 3) of a right hand, in the frame and the size of the robot's palm.

        Knuckles and wrist are laid on the robot's (Umeyama, PAMI 1991); the wrist is the frame's origin.
        """
        chosen = [0, *_KNUCKLES]
        source, target = hand[chosen], np.concatenate([np.zeros((1, 3)), self._knuckles])
        a, b = source - source.mean(axis=0), target - target.mean(axis=0)
        u, s, vt = np.linalg.svd(b.T @ a)
        flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        scale = float((s * np.diag(flip)).sum() / max((a**2).sum(), 1e-12))
        return scale * (hand - hand[0]) @ (u @ flip @ vt).T

    def fingertips(self, joints: Array) -> Array:
        """(5, 3) metres in the palm's frame: thumb to little fingertip at joint angles (J,), by MuJoCo."""
        import mujoco

        data = mujoco.MjData(self.model)
        for name, angle in zip(self.joint_names, joints, strict=True):
            data.joint(name).qpos[0] = angle
        mujoco.mj_kinematics(self.model, data)
        palm = data.body(self._prefix + _ROOT)
        tips = np.stack([data.site(f"{self._prefix}S_{finger}tip").xpos for finger in _FINGERS])
        return (tips - palm.xpos) @ palm.xmat.reshape(3, 3)

    def _robot_knuckles(self) -> Array:
        import mujoco

        data = mujoco.MjData(self.model)
        mujoco.mj_kinematics(self.model, data)
        palm = data.body(self._prefix + _ROOT)
        places = np.stack([data.body(self._prefix + name).xpos for name in _KNUCKLES.values()])
        return (places - palm.xpos) @ palm.xmat.reshape(3, 3)


def shadow_hand_file() -> Path:
    """The MJCF file of the Shadow hand in gymnasium-robotics, which is found without importing it."""
    spec = find_spec("gymnasium_robotics")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / _SHADOW


def to_urdf(model: Any, prefix: str, root: str) -> str:
    """The kinematics of an MJCF model below a body as URDF: links, hinges, limits, and fingertips as fixed links.

    Args:
        model: `mujoco.MjModel` whose bodies have one hinge each at their origin, or none.
        prefix: that names of the model begin with; it is dropped in the URDF.
        root: body, without the prefix, that becomes the root link.
    """
    robot = Xml.Element("robot", name="shadow_hand")
    Xml.SubElement(robot, "link", name=root)
    for body in _below(model, model.body(prefix + root).id):
        parent = model.body(model.body_parentid[body]).name.removeprefix(prefix)
        name = model.body(body).name.removeprefix(prefix)
        Xml.SubElement(robot, "link", name=name)
        hinge = _hinge_of(model, body)
        kind = "fixed" if hinge is None else "revolute"
        label = f"{name}_mount" if hinge is None else model.joint(hinge).name.removeprefix(prefix)
        joint = _join(robot, label, kind, parent, name, model.body_pos[body], model.body_quat[body])
        if hinge is not None:
            Xml.SubElement(joint, "axis", xyz=_words(model.jnt_axis[hinge]))
            low, high = model.jnt_range[hinge]
            Xml.SubElement(joint, "limit", lower=str(low), upper=str(high), effort="1", velocity="10")
    for finger in _FINGERS:
        site = model.site(f"{prefix}S_{finger}tip")
        Xml.SubElement(robot, "link", name=f"{finger}tip")
        parent = model.body(site.bodyid[0]).name.removeprefix(prefix)
        _join(robot, f"{finger}tip_mount", "fixed", parent, f"{finger}tip", site.pos, np.array([1.0, 0, 0, 0]))
    return Xml.tostring(robot, encoding="unicode")


def _below(model: Any, root: int) -> Iterator[int]:
    # MuJoCo numbers bodies so that a parent comes before its children.
    inside = {root}
    for body in range(root + 1, model.nbody):
        if int(model.body_parentid[body]) in inside:
            inside.add(body)
            yield body


def _hinge_of(model: Any, body: int) -> int | None:
    return int(model.body_jntadr[body]) if model.body_jntnum[body] else None


def _join(robot: Xml.Element, name: str, kind: str, parent: str, child: str, place: Array, turn: Array) -> Xml.Element:
    from scipy.spatial.transform import Rotation

    joint = Xml.SubElement(robot, "joint", name=name, type=kind)
    Xml.SubElement(joint, "parent", link=parent)
    Xml.SubElement(joint, "child", link=child)
    angles = Rotation.from_quat(turn, scalar_first=True).as_euler("xyz")  # URDF: about fixed axes
    Xml.SubElement(joint, "origin", xyz=_words(place), rpy=_words(angles))
    return joint


def _words(values: Array) -> str:
    return " ".join(f"{value:.9g}" for value in values)
