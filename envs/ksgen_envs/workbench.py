"""The Workbench: a tabletop under a robot's fixed camera, with one of six tasks to be done on it.

Everything follows from (env id, seed): layout, colours, sizes, table texture, lights, camera and wordings. The scene
is an `mujoco.MjSpec`, so that hands or a robot can be added before it is compiled; its contact physics is sound, and
demonstrations may as well set joint positions and call ``mj_forward``.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.layout import NoRoom
from ksgen_envs.props.base import Space
from ksgen_envs.props.table import build_lights, build_table
from ksgen_envs.tasks import TASK_MODULES, TASKS
from ksgen_envs.tasks.scene import Scene
from ksgen_envs.view import CAMERA_NAME, View, sample_view
from ksgen_models.demonstration import Camera
from ksgen_models.errors import InvalidInput, UnknownTask

_ATTEMPTS = 500
_SIZES = (16, 2048)

PLACE_TOLERANCE = 0.015
"""Metres, across: how far from its goal a placed prop may be."""
HEIGHT_TOLERANCE = 0.008
"""Metres, up or down."""
TILT_TOLERANCE = np.cos(np.deg2rad(12.0))
JOINT_TOLERANCE = {"pull": 0.015, "push": 0.008, "turn": 0.25, "press": 0.0025}
"""Metres; radians for ``turn``."""


class Workbench:
    """One scene of one task.

    Args:
        env_id: one of `TASKS`.
        seed: ≥ 0; the same seed makes the same scene.
        image_size: width and height of the camera's pictures, pixels.

    Attributes:
        env_id, seed, image_size: as given.
        spec: the `mujoco.MjSpec` of the scene, not yet compiled.
        instruction: the default thing to do.
        object_names: what one would call the things on the table, in the order of `object_poses`.
        object_bodies: their MJCF bodies.
        camera_name: MJCF name of the robot's camera.
        view: where the camera is.

    Raises:
        UnknownTask: no such env id; names the nearest.
        InvalidInput: the seed or the image size cannot be used.
    """

    camera_name = CAMERA_NAME

    def __init__(self, env_id: str, seed: int, *, image_size: int = 256) -> None:
        if env_id not in TASK_MODULES:
            raise UnknownTask(str(env_id), nearest_tasks(str(env_id)))
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InvalidInput(f"seed is {seed!r}; give an integer of 0 or more")
        if not _SIZES[0] <= image_size <= _SIZES[1]:
            raise InvalidInput(f"image_size is {image_size!r}; give {_SIZES[0]} to {_SIZES[1]} pixels")
        self.env_id, self.seed, self.image_size = env_id, int(seed), int(image_size)
        rng = np.random.default_rng([TASKS.index(env_id), self.seed])
        self.view, self._scene = _sample(env_id, rng)
        self.spec = _build(self.view, self._scene, rng, self.image_size)
        self.instruction: Instruction = self._scene.instructions[0]
        self._parts = tuple(part for prop in self._scene.props for part in prop.parts)
        self.object_names: tuple[str, ...] = tuple(name for name, _ in self._parts)
        self.object_bodies: tuple[str, ...] = tuple(body for _, body in self._parts)

    def instructions(self) -> tuple[Instruction, ...]:
        """Different things to do with this scene, the default one first.

        They begin with different targets, except where every one must begin with the drawer; those put different
        objects into it.
        """
        return self._scene.instructions

    def start(self) -> tuple[Any, Any]:
        """Compile the scene: ``(MjModel, MjData)`` at its start, kinematics computed."""
        model = self.spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        return model, data

    def camera(self, model: Any, data: Any) -> Camera:
        """The robot's camera, in pixels of ``image_size``; pixel coordinates run from 0 to ``image_size``."""
        camera = model.camera(CAMERA_NAME)
        focal = self.image_size / 2 / np.tan(np.deg2rad(float(camera.fovy[0])) / 2)
        middle = self.image_size / 2
        intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1.0]])
        # OpenGL looks along −z with y up; OpenCV along z with y down.
        rotation = (data.cam(CAMERA_NAME).xmat.reshape(3, 3) * [1, -1, -1]).T
        translation = -rotation @ data.cam(CAMERA_NAME).xpos
        return Camera(intrinsics, np.concatenate([rotation, translation[:, None]], axis=1))

    def object_poses(self, model: Any, data: Any) -> NDArray[np.float32]:
        """(N, 7) float32: world position, metres, and quaternion (w, x, y, z) of the things in `object_names`."""
        bodies = [data.body(body) for _, body in self._parts]
        return np.array([[*body.xpos, *body.xquat] for body in bodies], np.float32)

    def apply_effects(self, model: Any, data: Any) -> None:
        """Let things show their state (the lamp's bulb); call after ``mj_forward`` or ``mj_step``, before rendering."""
        for prop in self._scene.props:
            prop.apply_effects(model, data)

    def space(self, step: StepGoal) -> Space | None:
        """The room that the step's target is put into, anywhere; None where it has one place only."""
        if step.verb != "place" or step.offset is not None:
            return None
        return next(prop.space for prop in self._scene.props if prop.body == step.support)

    def done(self, model: Any, data: Any, step: StepGoal) -> bool:
        """Whether the step's result is there, measured on joints and poses."""
        if step.verb != "place":
            value = float(data.joint(step.joint).qpos[0])
            return abs(value - float(step.goal[0])) <= JOINT_TOLERANCE[step.verb]
        position = data.body(step.body).xpos
        if step.offset is None:
            space = self.space(step)
            return space is not None and space.contains(data, position)
        miss = position - data.body(step.support).xpos - step.offset
        upright = data.body(step.body).xmat[8] >= TILT_TOLERANCE
        return bool(np.hypot(miss[0], miss[1]) <= PLACE_TOLERANCE and abs(miss[2]) <= HEIGHT_TOLERANCE and upright)


def nearest_tasks(env_id: str) -> tuple[tuple[str, float], ...]:
    """Known env ids with their likeness in [0, 1] to ``env_id``, best first, at most three."""
    likeness = [(task, difflib.SequenceMatcher(None, env_id.lower(), task.lower()).ratio()) for task in TASKS]
    return tuple(sorted(likeness, key=lambda pair: -pair[1])[:3])


def set_goal(model: Any, data: Any, step: StepGoal) -> None:
    """Set the step's joint to its goal at once, with what rides along, and compute the kinematics.

    What is carried must ride on a slide joint (a drawer).
    """
    before = data.body(step.body).xpos.copy()
    data.joint(step.joint).qpos[:] = step.goal
    mujoco.mj_forward(model, data)
    if step.carried:
        shift = data.body(step.body).xpos - before
        for joint in step.carried:
            data.joint(joint).qpos[:3] += shift
        mujoco.mj_forward(model, data)


def _sample(env_id: str, rng: np.random.Generator) -> tuple[View, Scene]:
    """Sample scenes until one has room for everything inside the picture."""
    task = importlib.import_module(f"ksgen_envs.tasks.{TASK_MODULES[env_id]}")
    for _ in range(_ATTEMPTS):
        view = sample_view(rng)
        try:
            return view, task.build(rng, view)
        except NoRoom:
            continue
    raise RuntimeError(f"{env_id}: no scene fits into the picture after {_ATTEMPTS} samples")


def _build(view: View, scene: Scene, rng: np.random.Generator, image_size: int) -> Any:
    """The MjSpec of a scene."""
    spec = mujoco.MjSpec()
    spec.modelname = "workbench"
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5.0
    visual = spec.visual
    visual.global_.offwidth = visual.global_.offheight = max(image_size, 256)
    visual.quality.shadowsize = 1024
    visual.quality.offsamples = 4
    visual.map.znear, visual.map.zfar = 0.02, 6.0
    # The shadow map covers the table in the picture and not much more: wider blurs shadows, tighter frays its edge.
    spec.stat.center[:] = 0.0, 0.0, 0.05
    spec.stat.extent = 1.2
    build_table(spec, rng)
    build_lights(spec, rng)
    camera = spec.worldbody.add_camera(name=CAMERA_NAME, pos=view.position, fovy=view.fovy)
    camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
    camera.alt.xyaxes = view.xyaxes()
    for prop in scene.props:
        prop.build(spec)
    return spec
