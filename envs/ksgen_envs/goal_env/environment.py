"""The Workbench with a robot, as a Gymnasium goal environment."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ksgen_envs.goal_env import goals
from ksgen_envs.goal_env.observation import LIMIT, OBSERVATION_SIZE, Senses
from ksgen_envs.goal_env.progress import Progress
from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.offscreen import Pictures
from ksgen_envs.robot.gripper import STATE_SIZE, Gripper
from ksgen_envs.robot.model import add_robot
from ksgen_envs.workbench import Workbench, set_goal
from ksgen_models.errors import InvalidInput

Obs = Literal["state", "pixels", "both"]
Reward = Literal["sparse", "dense"]
Episode = Literal["instruction", "key_step"]

TIMESTEP, SUBSTEPS = 0.004, 10
CONTROL_HZ = 25
_OPTIONS = {"scene_seed", "instruction", "key_step"}


class WorkbenchEnv(gymnasium.Env[Any, NDArray[np.float32]]):
    """One of the six tasks, done by a parallel gripper on a Cartesian arm.

    Every reset makes a scene from a scene seed, with the robot waiting outside the picture. The robot is driven at
    25 Hz; a key step's goal is what ``desired_goal`` shows, and once it is reached the next observation but one shows
    the next key step's. The rewards of a step belong to the goals in the observation that it returned.

    Action: (5,) float32 in [-1, 1]: dx, dy, dz (1 is 2 cm), dyaw (1 is 0.1 rad), all relative to where the robot was
    told to be, and grip, the aperture asked for: −1 is open (84 mm), 1 is closed; what is between the fingers is held
    with up to 8 N each.

    Observation: ``observation``, ``achieved_goal``, ``desired_goal`` (float32) and with pixels ``pixels``, (H, W, 3)
    uint8 of the robot's camera. ``observation`` is (137,), see `ksgen_envs.goal_env.observation`, or with
    ``obs="pixels"`` its first 17 numbers, which are what the robot knows of itself.

    Info: ``is_success`` (all is done that the episode asks for and still is), ``step_success`` (the present key step
    is done), ``key_step`` and ``key_steps`` (index in the instruction, and their number), ``steps_done``, ``task``,
    ``description`` (the key step's sentence) and ``scene_seed``.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        obs: what observations hold.
        reward: ``sparse`` is 0 where the goal is reached and −1 elsewhere; ``dense`` in [−1, 0] says how near it is.
        render_mode: ``rgb_array`` or None.
        image_size: width and height of all pictures, pixels.
        scene_seeds: least scene seed, and the one after the greatest, that resets draw from; by default those for
            training.
        episode: ``instruction`` does an instruction from the beginning; ``key_step`` only one of its key steps, drawn
            at random, what comes before it being done already.
        continuing: whether episodes go on after success, until the time limit.

    Attributes:
        bench, model, data: the present scene and its simulation; None before the first reset.
        instruction: what is being done.

    Raises:
        UnknownTask: no such env id.
        InvalidInput: an argument cannot be used.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}

    bench: Workbench
    model: mujoco.MjModel
    data: mujoco.MjData
    instruction: Instruction

    def __init__(
        self,
        env_id: str,
        *,
        obs: Obs = "state",
        reward: Reward = "sparse",
        render_mode: str | None = None,
        image_size: int = 256,
        scene_seeds: tuple[int, int] = (0, 1_000_000),
        episode: Episode = "instruction",
        continuing: bool = False,
    ) -> None:
        _require("obs", obs, get_args(Obs))
        _require("reward", reward, get_args(Reward))
        _require("episode", episode, get_args(Episode))
        _require("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if not 0 <= scene_seeds[0] < scene_seeds[1]:
            raise InvalidInput(f"scene_seeds is {scene_seeds!r}; give (least, greatest + 1), both 0 or more")
        self.env_id, self.obs, self.render_mode, self.image_size = env_id, obs, render_mode, image_size
        self.scene_seeds, self.episode, self.continuing = scene_seeds, episode, continuing
        self._reward = goals.sparse_reward if reward == "sparse" else goals.dense_reward
        self._pictures: Pictures | None = None
        self._scene_seed = -1
        self._load(Workbench(env_id, scene_seeds[0], image_size=image_size))
        self.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
        self.observation_space = spaces.Dict(self._spaces())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Make a scene.

        Args:
            seed: of the environment's generator, from which the scene seed (and with ``episode="key_step"`` the key
                step) is drawn.
            options: ``scene_seed`` (int), ``instruction`` (index into `Workbench.instructions`, or one of their
                texts; by default the scene's own) and ``key_step`` (index of the key step to begin with).

        Raises:
            InvalidInput: an option cannot be used.
        """
        super().reset(seed=seed)
        chosen = dict(options or {})
        if unknown := set(chosen) - _OPTIONS:
            raise InvalidInput(f"unknown reset options {sorted(unknown)}; there are {sorted(_OPTIONS)}")
        # Drawn even if it is not used, so that what is drawn after it does not depend on the options.
        drawn, place = int(self.np_random.integers(*self.scene_seeds)), float(self.np_random.random())
        scene_seed = chosen.get("scene_seed", drawn)
        if scene_seed != self._scene_seed:
            self._load(Workbench(self.env_id, scene_seed, image_size=self.image_size))
        self.instruction = _choose_instruction(self.bench, chosen.get("instruction", 0))
        first = int(place * len(self.instruction.steps)) if self.episode == "key_step" else 0
        self._first = _choose_step(self.instruction, chosen.get("key_step", first))
        last = self._first + 1 if self.episode == "key_step" else len(self.instruction.steps)
        mujoco.mj_resetData(self.model, self.data)
        self._gripper.go_home()
        mujoco.mj_forward(self.model, self.data)
        for step in self.instruction.steps[: self._first]:
            set_goal(self.model, self.data, step)
        self._progress = Progress(self.instruction.steps[self._first : last], self.there, self.holds)
        return self._observe(), self._info()

    def step(
        self, action: NDArray[np.floating[Any]]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Drive the robot for a 25th of a second; see the class for the action.

        Raises:
            InvalidInput: the action's shape is wrong or it is not finite.
        """
        command = np.asarray(action, np.float64)
        if command.shape != (5,) or not np.isfinite(command).all():
            raise InvalidInput(f"the action is {action!r}; give five finite numbers in [-1, 1]")
        self._progress.advance()
        self._gripper.command(np.clip(command, -1.0, 1.0))
        mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS)
        # The last integration moved the joints; let the bodies follow.
        mujoco.mj_kinematics(self.model, self.data)
        observation = self._observe()
        reward = self.compute_reward(observation["achieved_goal"], observation["desired_goal"], None)
        info = self._info()
        return observation, float(reward), info["is_success"] and not self.continuing, False, info

    def compute_reward(
        self, achieved_goal: NDArray[Any], desired_goal: NDArray[Any], info: Any
    ) -> NDArray[np.float64] | float:
        """Rewards (...) of goals (..., 22), from the goals alone.

        Args:
            achieved_goal, desired_goal: one goal or a batch.
            info: not looked at.
        """
        rewards = self._reward(np.asarray(achieved_goal), np.asarray(desired_goal))
        return float(rewards) if rewards.ndim == 0 else rewards

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """(H, W, 3) uint8 from the robot's camera; None without a render mode."""
        return self.picture() if self.render_mode == "rgb_array" else None

    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 from the robot's camera, whatever the render mode."""
        if self._pictures is None:
            self._pictures = Pictures(self.model, self.bench.camera_name, self.image_size)
        self.bench.apply_effects(self.model, self.data)
        return self._pictures.take(self.data)

    def close(self) -> None:
        """Free the renderer's memory."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    @property
    def key_step(self) -> StepGoal:
        """What is to be done now."""
        return self._progress.step

    @property
    def robot_geoms(self) -> NDArray[np.int64]:
        """Ids of the robot's geoms in `model`."""
        return self._gripper.geoms

    def there(self, step: StepGoal) -> bool:
        """Whether a step's result is there (`Workbench.done`)."""
        return self.bench.done(self.model, self.data, step)

    def holds(self, step: StepGoal) -> bool:
        """Whether a step's result is there, let go of and at rest."""
        return self.there(step) and self._senses.settled(step)

    def _load(self, bench: Workbench) -> None:
        self.close()
        bench.spec.option.timestep = TIMESTEP
        add_robot(bench.spec)
        self.bench, self._scene_seed = bench, bench.seed
        self.model, self.data = bench.start()
        self._gripper = Gripper(self.model, self.data)
        self._senses = Senses(bench, self.model, self.data, self._gripper)

    def _spaces(self) -> dict[str, spaces.Space[Any]]:
        size = STATE_SIZE if self.obs == "pixels" else OBSERVATION_SIZE
        found: dict[str, spaces.Space[Any]] = {
            "observation": spaces.Box(-LIMIT, LIMIT, (size,), np.float32),
            "achieved_goal": spaces.Box(-LIMIT, LIMIT, (goals.GOAL_SIZE,), np.float32),
            "desired_goal": spaces.Box(-LIMIT, LIMIT, (goals.GOAL_SIZE,), np.float32),
        }
        if self.obs != "state":
            found["pixels"] = spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        return found

    def _observe(self) -> dict[str, NDArray[Any]]:
        step = self._progress.step
        achieved, desired = self._senses.goals(step)
        state = self._senses.robot() if self.obs == "pixels" else self._senses.observe(step, self._progress.share)
        observation: dict[str, NDArray[Any]] = {
            "observation": state,
            "achieved_goal": achieved,
            "desired_goal": desired,
        }
        if self.obs != "state":
            observation["pixels"] = self.picture()
        return observation

    def _info(self) -> dict[str, Any]:
        done, all_done = self._progress.look()
        return {
            "is_success": all_done,
            "step_success": done,
            "key_step": self._first + self._progress.index,
            "key_steps": len(self.instruction.steps),
            "steps_done": self._first + self._progress.steps_done,
            "task": self.instruction.task,
            "description": self._progress.step.description,
            "scene_seed": self._scene_seed,
        }


def _require(name: str, value: Any, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise InvalidInput(f"{name} is {value!r}; give one of {', '.join(map(repr, known))}")


def _choose_instruction(bench: Workbench, choice: Any) -> Instruction:
    offered = bench.instructions()
    for index, instruction in enumerate(offered):
        if choice == instruction.task or (choice == index and not isinstance(choice, (bool, float))):
            return instruction
    texts = "; ".join(f"{index}: {instruction.task}" for index, instruction in enumerate(offered))
    raise InvalidInput(f"instruction is {choice!r}; scene {bench.seed} of {bench.env_id} knows {texts}")


def _choose_step(instruction: Instruction, choice: Any) -> int:
    known = range(len(instruction.steps))
    if isinstance(choice, bool) or not isinstance(choice, (int, np.integer)) or choice not in known:
        raise InvalidInput(f"key_step is {choice!r}; the instruction has key steps 0 to {len(known) - 1}")
    return int(choice)
