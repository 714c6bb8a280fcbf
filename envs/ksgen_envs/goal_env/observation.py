"""What a policy is told of a scene: the robot, what is on the table slot by slot, and the key step's goal."""

from __future__ import annotations

from typing import get_args

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goal_env import goals
from ksgen_envs.goals import StepGoal, Verb
from ksgen_envs.robot.gripper import STATE_SIZE, Gripper
from ksgen_envs.workbench import HEIGHT_TOLERANCE, JOINT_TOLERANCE, PLACE_TOLERANCE, TILT_TOLERANCE, Workbench

VERBS: tuple[str, ...] = get_args(Verb)
SLOT_SIZE = 19
"""A slot: there 1, position 3, position from the tool point 3, quaternion 4 (w ≥ 0), velocity 3, spin 3 (in the frame
of the body), joint value 1 and rate 1. Loose things have velocity and spin, things on a joint have its value and rate;
what does not apply is 0, as is all of an empty slot."""
OBSERVATION_SIZE = STATE_SIZE + goals.SLOTS * SLOT_SIZE + len(VERBS) + 1
LIMIT = 100.0
"""Every number lies between −100 and 100, metres, radians and seconds; faster things are told as that fast."""
_MOVING = 0.05  # metres a second


class Senses:
    """Reads one compiled scene.

    Slots are the things of `Workbench.object_names`, in that order.

    Args:
        bench, model, data: the scene.
        gripper: its robot.
    """

    def __init__(self, bench: Workbench, model: mujoco.MjModel, data: mujoco.MjData, gripper: Gripper) -> None:
        self._bench, self._data, self._gripper = bench, data, gripper
        bodies = [model.body(name).id for name in bench.object_bodies]
        self._bodies = np.array(bodies)
        count = len(bodies)
        # Row, place in qvel: of loose things six, of things on a joint one.
        joints = [int(model.body_jntadr[body]) for body in bodies]
        free = [joint >= 0 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE for joint in joints]
        self._loose = np.flatnonzero(free)
        self._jointed = np.array([i for i in range(count) if joints[i] >= 0 and not free[i]], int)
        self._loose_dofs = np.array([model.jnt_dofadr[joints[i]] + np.arange(6) for i in self._loose], int).reshape(
            -1, 6
        )
        self._qpos = model.jnt_qposadr[[joints[i] for i in self._jointed]].astype(int)
        self._dofs = model.jnt_dofadr[[joints[i] for i in self._jointed]].astype(int)
        self._slot_of_geom = np.full(model.ngeom, -1)
        for slot, body in enumerate(bodies):
            self._slot_of_geom[model.geom_bodyid == body] = slot
        self._is_gripper = np.zeros(model.ngeom, bool)
        self._is_gripper[gripper.geoms] = True

    def observe(self, step: StepGoal, progress: float) -> NDArray[np.float32]:
        """(137,) the robot (see `Gripper.state`), the slots, the key step's verb one-hot, the share of steps done."""
        data, count = self._data, len(self._bodies)
        observation = np.zeros(OBSERVATION_SIZE, np.float32)
        robot = self._gripper.state()
        observation[:STATE_SIZE] = robot
        slots = observation[STATE_SIZE : STATE_SIZE + goals.SLOTS * SLOT_SIZE].reshape(goals.SLOTS, SLOT_SIZE)
        here = slots[:count]
        position, quaternion = data.xpos[self._bodies], data.xquat[self._bodies]
        here[:, 0] = 1.0
        here[:, 1:4] = position
        here[:, 4:7] = position - robot[:3]
        here[:, 7:11] = np.where(quaternion[:, :1] < 0, -quaternion, quaternion)
        slots[self._loose, 11:17] = data.qvel[self._loose_dofs]
        slots[self._jointed, 17] = data.qpos[self._qpos]
        slots[self._jointed, 18] = data.qvel[self._dofs]
        observation[-1 - len(VERBS) + VERBS.index(step.verb)] = 1.0
        observation[-1] = progress
        return np.clip(observation, -LIMIT, LIMIT)

    def robot(self) -> NDArray[np.float32]:
        """(17,) what the robot knows of itself."""
        return np.clip(self._gripper.state(), -LIMIT, LIMIT).astype(np.float32)

    def goals(self, step: StepGoal) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Achieved and desired goal (22,) of a key step, see `ksgen_envs.goal_env.goals`."""
        data = self._data
        slot = self._bench.object_bodies.index(step.body)
        body = self._bodies[slot]
        achieved = np.zeros(goals.GOAL_SIZE)
        achieved[slot] = 1.0
        position = data.xpos[body]
        achieved[goals.POSITION] = position
        achieved[goals.UPRIGHT] = data.xmat[body, 8]
        away = position - self._gripper.position()
        achieved[goals.REACH] = np.sqrt(away @ away)
        self._describe_region(achieved, step)
        desired = achieved.copy()
        desired[goals.UPRIGHT], desired[goals.REACH] = 1.0, 0.0
        if step.verb == "place":
            achieved[goals.UNSETTLED] = self.unsettled(slot)
            desired[goals.POSITION] = self._region_centre(step)
        else:
            achieved[goals.JOINT] = data.joint(step.joint).qpos[0]
            desired[goals.JOINT] = step.goal[0]
        return tuple(np.clip(goal, -LIMIT, LIMIT).astype(np.float32) for goal in (achieved, desired))  # type: ignore[return-value]

    def unsettled(self, slot: int) -> bool:
        """Whether the gripper touches the thing in a slot, or it moves."""
        data = self._data
        if slot in self._loose:
            velocity = data.qvel[self._loose_dofs[np.searchsorted(self._loose, slot), :3]]
            if velocity @ velocity > _MOVING**2:
                return True
        pairs = data.contact.geom
        if not len(pairs):
            return False
        touched, gripper = self._slot_of_geom[pairs] == slot, self._is_gripper[pairs]
        return bool(np.any(touched & gripper[:, ::-1]))

    def settled(self, step: StepGoal) -> bool:
        """Whether a placed thing has been let go of and rests; other verbs do not ask for it."""
        return step.verb != "place" or not self.unsettled(self._bench.object_bodies.index(step.body))

    def _region_centre(self, step: StepGoal) -> NDArray[np.float64]:
        space = self._bench.space(step)
        if space is None:
            assert step.offset is not None
            return self._data.body(step.support).xpos + step.offset
        body = self._data.body(space.body)
        return body.xpos + body.xmat.reshape(3, 3) @ space.centre

    def _describe_region(self, goal: NDArray[np.float64], step: StepGoal) -> None:
        goal[goals.HEADING] = 1.0, 0.0
        if step.verb != "place":
            goal[goals.TOLERANCE] = goals.ANY, goals.ANY, goals.ANY, JOINT_TOLERANCE[step.verb], goals.ANY, goals.ANY
            return
        space = self._bench.space(step)
        if space is None:
            goal[goals.ROUND] = 1.0
            upright = 1.0 - TILT_TOLERANCE
            goal[goals.TOLERANCE] = PLACE_TOLERANCE, PLACE_TOLERANCE, HEIGHT_TOLERANCE, goals.ANY, upright, 0.5
            return
        goal[goals.HEADING] = self._data.body(space.body).xmat[[0, 3]]
        goal[goals.TOLERANCE] = *space.half, goals.ANY, goals.ANY, 0.5
