"""The robot in a compiled scene: acts on it and reads its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.robot.model import (
    ACTUATORS,
    BODY,
    FINGER_JOINTS,
    FINGERS,
    HOME,
    JOINTS,
    MAX_APERTURE,
    MAX_SPEED,
    MAX_YAW_SPEED,
)

STATE_SIZE = 17
LEASH = (0.025, 0.025, 0.025, 0.15)
"""Metres and radians that set points may run ahead of x, y, z and yaw: so hard may the robot push."""
_SPEEDS = np.array([MAX_SPEED] * 3 + [MAX_YAW_SPEED])


@dataclass(frozen=True)
class GripperState:
    """What the robot knows of itself.

    Attributes:
        position: (3,) float64 metres, the tool point.
        yaw: radians from the world's x axis to the direction from pad to pad.
        aperture: metres between the pads.
        velocity: (3,) metres a second.
        yaw_rate: radians a second.
        aperture_rate: metres a second.
        lag: (4,) how far the set points of x, y, z (metres) and yaw (radians) are ahead.
    """

    position: NDArray[np.float64]
    yaw: float
    aperture: float
    velocity: NDArray[np.float64]
    yaw_rate: float
    aperture_rate: float
    lag: NDArray[np.float64]


def read_state(vector: NDArray[Any]) -> GripperState:
    """The state from the first `STATE_SIZE` numbers of an observation."""
    v = np.asarray(vector, np.float64)
    return GripperState(v[0:3], float(v[3]), float(v[6]), v[7:10], float(v[10]), float(v[11]), v[12:16])


class Gripper:
    """The robot of one compiled scene.

    Args:
        model, data: a scene with the robot in it (`ksgen_envs.robot.model.add_robot`).
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._data = data
        joints = [model.joint(name).id for name in (*JOINTS, *FINGER_JOINTS)]
        self._qpos, self._qvel = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        actuators = [model.actuator(name).id for name in ACTUATORS]
        self._ctrl = np.array(actuators)
        self._act = model.actuator_actadr[actuators[:4]]
        self._low, self._high = model.actuator_actrange[actuators[:4]].T
        bodies = [model.body(name).id for name in (BODY, *FINGERS)]
        self.geoms: NDArray[np.int64] = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
        """(N,) ids of its geoms."""

    def go_home(self) -> None:
        """Put it where it starts, open; kinematics are not computed."""
        self._data.qpos[self._qpos] = (*HOME, 0.0, MAX_APERTURE / 2, MAX_APERTURE / 2)
        self._data.qvel[self._qvel] = 0.0
        self._data.act[self._act] = (*HOME, 0.0)
        self._data.ctrl[self._ctrl] = (0.0, 0.0, 0.0, 0.0, MAX_APERTURE / 2)

    def command(self, action: NDArray[np.floating[Any]]) -> None:
        """Set the actuators: (5,) in [-1, 1], see `ksgen_envs.goal_env.environment.WorkbenchEnv`."""
        data = self._data
        # Set points do not run away from a robot that something holds back.
        at = data.qpos[self._qpos[:4]]
        data.act[self._act] = np.clip(data.act[self._act], at - LEASH, at + LEASH)
        data.ctrl[self._ctrl[:4]] = action[:4] * _SPEEDS
        data.ctrl[self._ctrl[4]] = (1.0 - action[4]) * (MAX_APERTURE / 4)

    def position(self) -> NDArray[np.float64]:
        """(3,) metres, the tool point."""
        return self._data.qpos[self._qpos[:3]]

    def state(self) -> NDArray[np.float64]:
        """(17,) position 3, yaw, cos and sin of twice the yaw, aperture, velocity 3, yaw rate, aperture rate, lag 4,
        aperture asked for; metres, radians, seconds."""
        data = self._data
        q, v = data.qpos[self._qpos], data.qvel[self._qvel]
        state = np.empty(STATE_SIZE)
        state[0:4] = q[:4]
        state[4], state[5] = np.cos(2 * q[3]), np.sin(2 * q[3])
        state[6] = q[4] + q[5]
        state[7:11] = v[:4]
        state[11] = v[4] + v[5]
        state[12:16] = data.act[self._act] - q[:4]
        state[16] = 2 * data.ctrl[self._ctrl[4]]
        return state
