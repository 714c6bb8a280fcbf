"""Pictures without a window: one OpenGL context a process and size, shared by all models.

`mujoco.Renderer` makes a context for every model, which is slow; here only the model's meshes and textures are
uploaded anew.
"""

from __future__ import annotations

import atexit
from functools import lru_cache

import mujoco
import numpy as np
from numpy.typing import NDArray

_MAX_GEOMS = 2000


@lru_cache(maxsize=4)
def _context(size: int) -> mujoco.GLContext:
    context = mujoco.GLContext(size, size)
    # Left to the interpreter's end, the context outlives EGL and complains.
    atexit.register(context.free)
    return context


class Pictures:
    """Renders one model through one fixed camera, square pictures.

    Args:
        model: the compiled model; its offscreen buffer must hold ``size``.
        camera: MJCF name of the camera.
        size: width and height, pixels.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, size: int) -> None:
        self._model, self._size = model, size
        self._gl = _context(max(size, 16))
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
        """Free the model's meshes and textures; the context stays for the next model."""
        self._gl.make_current()
        self._gpu.free()
