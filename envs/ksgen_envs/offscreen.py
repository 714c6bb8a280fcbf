"""Pictures without a window: OpenGL contexts are used again by one model after the other.

`mujoco.Renderer` makes a context for every model, which is slow; here only the model's meshes and textures are
uploaded anew. Two models that are drawn in turns have a context each: in one they would see each other's shadows.
"""

from __future__ import annotations

import atexit
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ksgen_envs.goals import StepGoal
    from ksgen_envs.workbench import Workbench

_MAX_GEOMS = 2000


_idle: dict[int, list[mujoco.GLContext]] = {}


def _borrow(size: int) -> mujoco.GLContext:
    """A context that nobody uses; give it back to ``_idle``."""
    if _idle.get(size):
        return _idle[size].pop()
    context = mujoco.GLContext(size, size)
    # Left to the interpreter's end, the context outlives EGL and complains.
    atexit.register(context.free)
    return context


def _let_go(context: mujoco.GLContext) -> None:
    # What is current in one thread is refused to every other; mujoco itself has no call for it.
    if type(context).__module__ == "mujoco.egl":
        from OpenGL import EGL

        EGL.eglReleaseThread()


class Pictures:
    """Renders one model through one fixed camera, square pictures; close it when it is no longer needed.

    Args:
        model: the compiled model; its offscreen buffer must hold ``size``.
        camera: MJCF name of the camera.
        size: width and height, pixels.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, size: int) -> None:
        self._model, self._size, self._closed = model, size, False
        self._gl = _borrow(size)
        self._gl.make_current()
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera(camera).id
        self._gpu = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gpu)
        self._rect = mujoco.MjrRect(0, 0, size, size)

    def take(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of the model's present state."""
        return self._read(data)

    def geoms(self, data: mujoco.MjData) -> NDArray[np.int32]:
        """(H, W) int32, id of the geom that each pixel shows; -1 where there is none."""
        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        self._scene.flags[[flag.value for flag in flags]] = 1
        try:
            colours = self._read(data).astype(np.int32)
        finally:
            self._scene.flags[[flag.value for flag in flags]] = 0
        places = colours @ np.array([1, 1 << 8, 1 << 16], np.int32)  # 1 + place in the scene's list; 0: nothing
        ids = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and 0 <= geom.segid < self._scene.ngeom:
                ids[geom.segid + 1] = geom.objid
        return ids[np.where(places <= self._scene.ngeom, places, 0)]

    def _read(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(self._rect, self._scene, self._gpu)
        picture = np.empty((self._size, self._size, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._rect, self._gpu)
        return np.ascontiguousarray(picture[::-1])

    def close(self) -> None:
        """Free the model's meshes and textures; the context stays for the next model. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._gl.make_current()
        self._gpu.free()
        _let_go(self._gl)
        _idle.setdefault(self._size, []).append(self._gl)


def first_picture(bench: Workbench, done: Sequence[StepGoal] = ()) -> NDArray[np.uint8]:
    """What the robot's camera sees of a scene at its start, or with some steps ``done``, (H, W, 3) uint8 RGB."""
    from ksgen_envs.workbench import set_goal

    model, data = bench.start()
    for step in done:
        set_goal(model, data, step)
    bench.apply_effects(model, data)
    with closing(Pictures(model, bench.camera_name, bench.image_size)) as pictures:
        return pictures.take(data)
