"""Does a key step with the robot, by contact, and asks the simulator whether it worked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.controller import PERIOD, WaypointController, action_towards, come_over, leave
from ksgen_envs.executors.reading import Reading
from ksgen_envs.executors.retarget import HandRetargeter
from ksgen_envs.executors.setting_down import seek
from ksgen_envs.executors.sight import Array
from ksgen_envs.executors.waypoints import Waypoints
from ksgen_envs.executors.yielding import close_on, draw, turn
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.goals import StepGoal
from ksgen_envs.robot.gripper import GripperState, read_state
from ksgen_envs.robot.model import MAX_SPEED, MAX_YAW, MAX_YAW_SPEED, TIP
from ksgen_models.errors import InvalidInput, KSGenError
from ksgen_models.types import KeyStep

MAX_ACTIONS = 1500
"""Actions (at 25 Hz) after which a path that comes to no end is given up."""
_EMPTY = 0.004  # metres between the fingers: they hold nothing
_GRASPS = (0.0, -0.012, -0.030, -0.050)  # metres by which the first and further tries to grasp are lower
_SLIGHT = 0.004  # metres above the lower end of a guarded way: nothing was touched
_WIDE = 0.064  # metres between open fingers that look for something with nothing else close by
_ABOUT_HANDLE = tuple((one, 0.0) for one in (0.0, 0.01, 0.02, 0.03)) + tuple(
    (one, other) for one in (0.01, 0.02) for other in (0.015, -0.015)
)
"""Metres along and across its way at which a handle is looked for."""
_BEHIND = (0.03, 0.05, 0.07, 0.09)  # metres behind a handle at which there is room to push from
_ABOUT_KNOB = tuple((0.0, 0.0, aside) for aside in (0.0, 0.5, -0.5)) + tuple(
    (x, y, 0.0) for x, y in ((0.012, 0.0), (-0.012, 0.0), (0.0, 0.012), (0.0, -0.012))
)
"""Metres, and radians of the wrist, at which a knob is looked for."""
_RAIL = 0.16  # metres that nothing slides farther than
_ABOVE, _ROOM = 0.07, 0.008  # metres above a place from which it is reached down to, and that are as good as there
_WRIST = MAX_YAW - 0.1  # radians
_OPENING = 8  # actions
_OVERTURN = 0.5  # radians: fingers slip while they come to hold, and what turns has a stop
_IN_THE_WAY = 0.04  # metres above where it was read: not what a thing is to stand on, perhaps, but something before it
_SEARCHES, _FITS = 4, 0.006  # searches for where a thing fits, and metres above the floor at which it does


@dataclass(frozen=True)
class Execution:
    """How a key step went.

    Attributes:
        description: the step's sentence.
        success: whether its result is there, let go of and at rest, when the robot has left: the simulator's word.
        actions: that it took.
        error: why the robot did not begin ("NoHandFound: ..."); empty where it did.
    """

    description: str
    success: bool
    actions: int
    error: str = ""


class KeyStepExecutor:
    """Carries out key steps in a Workbench environment, one after the other from wherever the scene has got to.

    It knows what a robot knows: the key step (pictures, clip, hands, sentence), its camera's pose and its own state.
    Only the verdict comes from the simulator.

    Args:
        env: a Workbench environment, wrapped or not, that has been reset. Wrappers see every action; a time limit
            among them ends an episode before the step is done. Make it with ``continuing=True``.
        retargeter: by default one for the environment's camera.
        watch: called after every action, to take pictures for instance.

    Raises:
        InvalidInput: the environment is another one.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        retargeter: HandRetargeter | None = None,
        *,
        watch: Callable[[], None] | None = None,
    ) -> None:
        if not isinstance(env.unwrapped, WorkbenchEnv):
            raise InvalidInput(f"key steps are executed in Workbench environments, not in {env.unwrapped!r}")
        self._env, self._bench_env = env, env.unwrapped
        self._retargeter = retargeter
        self._watch = watch or (lambda: None)
        self._actions = 0

    @property
    def retargeter(self) -> HandRetargeter:
        """The one that was given, or one for the camera of the present scene."""
        if self._retargeter is not None:
            return self._retargeter
        inner = self._bench_env
        return HandRetargeter(inner.bench.camera(inner.model, inner.data), (inner.image_size, inner.image_size))

    @property
    def task_done(self) -> bool:
        """Whether all that the environment's instruction asks for is there and at rest; the simulator's word.

        What a later key step moves again (a drawer that is opened and then closed) need not last.
        """
        inner, steps = self._bench_env, self._bench_env.instruction.steps
        return all(
            inner.holds(step)
            for index, step in enumerate(steps)
            if all(later.joint != step.joint for later in steps[index + 1 :])
        )

    def execute(self, step: KeyStep, goal: StepGoal | None = None) -> Execution:
        """Do a key step and drive home, out of the camera's sight.

        Args:
            step: imagined, or made of a true demonstration.
            goal: what the simulator is to judge it by; by default the environment's present key step.
        """
        goal = goal or self._bench_env.key_step
        self._actions = 0
        error = ""
        try:
            self.carry_out(self.retargeter.read(step), step.fps, len(step.clip))
        except KSGenError as exc:
            error = f"{type(exc).__name__}: {exc}"
        return Execution(step.description, self._bench_env.holds(goal), self._actions, error)

    def carry_out(self, reading: Reading, fps: float, frames: int) -> None:
        """Do what was read from a clip of ``frames`` frames at ``fps``, and drive home.

        Raises:
            OutOfReach: the robot does not reach there, or does not open so far; it has not moved.
        """
        path = self.retargeter.waypoints(reading, fps, frames)
        state = self._act(np.array([0, 0, 0, 0, -1], np.float32))
        if reading.contact == "carry":
            state = self._carry(path, reading, state)
        elif reading.contact == "slide":
            state = self._slide(reading, state)
        elif reading.contact == "turn":
            state = self._turn(reading, state)
        else:
            state = self._over(path, state)
        self.follow(leave(state), state)

    def _over(self, path: Waypoints, state: GripperState) -> GripperState:
        return self.follow(come_over(path, state), state)

    def _carry(self, path: Waypoints, reading: Reading, state: GripperState) -> GripperState:
        held = np.flatnonzero(path.holding)
        lifted, down = int(held[1]), int(held[-1])
        given, lower = path, 0.0
        for lower in _GRASPS:
            path = _lowered(given, lower)
            state = self._over(path.part(0, lifted + 1), state)
            if state.aperture > _EMPTY:
                break
        # Held lower, it is let go lower.
        reading = replace(reading, release=reading.release + np.array([0.0, 0.0, lower]))
        state = self.follow(path.part(lifted, down + 1), state)
        way = path.positions[down - 1 : down + 1]
        fitted = reading.rest == "fitted" and state.position[2] > way[1, 2] + _SLIGHT
        in_the_way = reading.rest == "on" and state.position[2] > reading.release[2] + _IN_THE_WAY
        if fitted or in_the_way:
            state = self._fit(way, reading, state)
        rest = path.part(down)
        return self.follow(rest.shifted(state.position - rest.positions[0], state.yaw - float(rest.yaws[0])), state)

    def _slide(self, reading: Reading, state: GripperState) -> GripperState:
        way = reading.release[:2] - reading.grasp[:2]
        way = way / max(float(np.linalg.norm(way)), 1e-6)
        along, across, yaw = np.array([*way, 0.0]), np.array([-way[1], way[0], 0.0]), reading.yaws[0]
        if reading.pushes:
            # From behind, with closed fingers, which need not meet a handle.
            places = [(reading.grasp - along * back, yaw) for back in _BEHIND]
            return draw(self._act, self._reach(places, 0.0, state), way, _RAIL)
        places = [(reading.grasp + along * one + across * other, yaw) for one, other in _ABOUT_HANDLE]
        return self._open(draw(self._act, self._reach(places, _WIDE, state), way, _RAIL), _WIDE)

    def _turn(self, reading: Reading, state: GripperState) -> GripperState:
        by = reading.yaws[1] - reading.yaws[0]
        by += np.copysign(_OVERTURN, by)
        places = [(reading.grasp + np.array([x, y, 0.0]), reading.yaws[0] + aside) for x, y, aside in _ABOUT_KNOB]
        state = self._reach(places, _WIDE, state)
        if abs(state.yaw + by) > _WRIST:
            # Half a turn leaves a gripper as it was.
            state = self._open(state, _WIDE)
            state = self._open(state, _WIDE, state.yaw - np.copysign(np.pi, by))
            state = close_on(self._act, state)
        return self._open(turn(self._act, state, by), _WIDE)

    def _reach(self, places: Iterable[tuple[Array, float]], aperture: float, state: GripperState) -> GripperState:
        """Down at the first of places (3,), with yaws, that has room and, with an aperture, something to hold."""
        for spot, yaw in places:
            down = Waypoints(
                times=np.array([0.0, 1.0]),
                positions=np.stack([spot + np.array([0.0, 0.0, _ABOVE]), spot]),
                yaws=np.full(2, yaw),
                apertures=np.full(2, aperture),
                holding=np.zeros(2, bool),
                guarded=np.array([False, True]),
            )
            state = self._over(down, state)
            if state.position[2] > spot[2] + _ROOM:
                continue
            if aperture == 0.0:
                break
            state = close_on(self._act, state)
            if state.aperture > _EMPTY:
                break
        return state

    def _open(self, state: GripperState, aperture: float, yaw: float | None = None) -> GripperState:
        place, yaw = state.position.copy(), state.yaw if yaw is None else yaw
        for _ in range(_OPENING + round(abs(yaw - state.yaw) / (MAX_YAW_SPEED * PERIOD))):
            state = self._act(action_towards(state, place, yaw, aperture))
        return state

    def _fit(self, way: Array, reading: Reading, state: GripperState) -> GripperState:
        # A thing that tilts gives way, too: what has not come down far is moved about again. How far is known of holes
        # and slots, since the robot took hold of the thing as it stood on the table.
        for _ in range(_SEARCHES):
            if state.position[2] < reading.release[2] + _FITS:
                break
            state, gave_way = seek(self._act, state, state.yaw, sways=reading.slender)
            if not gave_way:
                break
            state = self._lower(state, way)
        return state

    def _lower(self, state: GripperState, way: Array) -> GripperState:
        # Straight down until it touches.
        down = state.position.copy()
        down[2] = way[1, 2]
        return self.follow(_straight(state, down, guarded=True), state)

    def follow(self, path: Waypoints, state: GripperState) -> GripperState:
        """Drive along a path; the state at its end."""
        controller = WaypointController(path, state)
        for _ in range(MAX_ACTIONS):
            action = controller.act(state)
            if controller.done:
                break
            state = self._act(action)
        return state

    def _act(self, action: NDArray[np.float32]) -> GripperState:
        observation = self._env.step(action)[0]
        self._actions += 1
        self._watch()
        return read_state(observation["observation"])


def _lowered(path: Waypoints, by: float) -> Waypoints:
    # As far as the fingertips may go.
    return replace(path, positions=np.maximum(path.positions + np.array([0.0, 0.0, by]), [-np.inf, -np.inf, TIP]))


def _straight(
    state: GripperState,
    place: Array,
    *,
    yaw: float | None = None,
    aperture: float | None = None,
    guarded: bool = False,
) -> Waypoints:
    """From where the robot is to a place (3,) and a yaw; with what it holds, if not with an aperture."""
    length = float(np.linalg.norm(place - state.position))
    turned = state.yaw if yaw is None else yaw
    seconds = max(length / (0.2 * MAX_SPEED), abs(turned - state.yaw) / (0.5 * MAX_YAW_SPEED), 0.08)
    return Waypoints(
        times=np.array([0.0, seconds]),
        positions=np.stack([state.position, place]),
        yaws=np.array([state.yaw, turned]),
        apertures=np.full(2, aperture or 0.0),
        holding=np.full(2, aperture is None),
        guarded=np.array([False, guarded]),
    )
