"""Camera frames of the Workbench, as a robot would see them before a person's hands appear."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def camera_frame(env_id: str, seed: int) -> NDArray[np.uint8]:
    """The robot's camera picture of one scene at its start, (H, W, 3) uint8 RGB.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        seed: of the scene.
    """
    from ksgen_envs import Workbench
    from ksgen_envs.offscreen import first_picture

    return first_picture(Workbench(env_id, seed))
