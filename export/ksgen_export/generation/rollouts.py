"""Robot rollouts in the Workbench as episodes: the scripted expert, a trained policy, and retargeted key steps.

Frames are those of the robot's camera at its 25 Hz, states what the robot knows of itself when the frame was taken, and
actions what it was told then. A key step of an episode is what the robot pursued; where a robot goes back to an earlier
one, because its result was spoilt, the later one stays, since an episode's key steps are in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_agent import Imagination, Imaginer
from ksgen_agent.draft import check_trust
from ksgen_envs.executors.execution import KeyStepExecutor
from ksgen_envs.executors.expert import Expert
from ksgen_envs.executors.imagined import imagine_next
from ksgen_envs.goal_env.environment import CONTROL_HZ, WorkbenchEnv
from ksgen_envs.learners.evaluation import Policy
from ksgen_envs.robot.gripper import STATE_SIZE
from ksgen_envs.subgoals.wrapper import SubgoalWrapper
from ksgen_export.conversion import episode_of_rollout, no_hands
from ksgen_export.episode import RobotTrack
from ksgen_export.generation.items import Item
from ksgen_export.generation.making import REFUSALS, Made, Maker
from ksgen_export.generation.options import GenerationOptions
from ksgen_models.types import KeyStep, RegionOfMotion

Env = gymnasium.Env[Any, Any]
STATE_NAMES: tuple[str, ...] = (
    "x", "y", "z", "yaw", "cos_2yaw", "sin_2yaw", "aperture", "vx", "vy", "vz", "yaw_rate", "aperture_rate",
    "lag_x", "lag_y", "lag_z", "lag_yaw", "aperture_asked",
)  # fmt: skip
"""Of `ksgen_envs.robot.gripper.Gripper.state`: metres, radians, seconds."""
ACTION_NAMES: tuple[str, ...] = ("dx", "dy", "dz", "dyaw", "grip")
"""Of `WorkbenchEnv`: each in [-1, 1]."""
_NEVER = object()


@contextmanager
def expert(options: GenerationOptions) -> Iterator[Maker]:
    """The scripted expert, from the simulator's truth."""
    with _environments(lambda env_id: gymnasium.make(env_id, image_size=options.image_size)) as env_of:

        def make(item: Item) -> Made:
            env = env_of(item.task)
            return _drive(env, Expert(env), item, {"robot": "expert"})

        yield make


@contextmanager
def trained(options: GenerationOptions, imaginer: Imaginer | None) -> Iterator[Maker]:
    """A policy of `ksgen-agent learn`, given subgoals or not."""
    from ksgen_envs.learners.runs import load_run

    run = load_run(Path(options.policy))
    encoder = None
    if run.inputs is not None and run.inputs.kind == "subgoal":
        from ksgen_models.text import MiniLM

        encoder = MiniLM()

    def imaginer_for(env: Env) -> Imaginer:
        if imaginer is not None:
            return imaginer
        from ksgen_envs.learners.true_subgoals import DemonstrationImaginer

        assert encoder is not None, "environments with subgoals refuse policies without"
        return DemonstrationImaginer(env, encoder)

    asked = None if options.subgoals == "none" else imaginer_for
    told = {"robot": "policy", "policy": Path(options.policy).name, "subgoals": options.subgoals}
    with _environments(lambda env_id: run.env(env_id, encoder=encoder, imaginer_for=asked)) as env_of:
        yield lambda item: _drive(env_of(item.task), run.policy, item, told)


@contextmanager
def retargeted(options: GenerationOptions, imaginer: Imaginer) -> Iterator[Maker]:
    """Imagined key steps, carried out by contact: one plan, each key step imagined anew from the robot's camera."""

    def make_env(env_id: str) -> Env:
        return WorkbenchEnv(env_id, image_size=options.image_size, continuing=True)

    with _environments(make_env) as env_of:

        def make(item: Item) -> Made:
            env = env_of(item.task)
            bench = env.bench_env
            env.reset(seed=item.seed, options={"scene_seed": item.scene})
            executor = KeyStepExecutor(env)
            task = bench.instruction.task
            whole = imaginer.imagine(
                bench.picture(), task, seed=item.seed, allow_out_of_domain=options.allow_out_of_domain
            )
            pursued: list[KeyStep] = []
            errors: list[str] = []
            try:
                for env.pursued, step in enumerate(_next_steps(imaginer, bench, whole, item.seed, options)):
                    pursued.append(step)
                    errors += [error] if (error := executor.execute(step).error) else []
            except REFUSALS as exc:
                errors.append(f"{type(exc).__name__}: {exc}")
            problem = "" if executor.task_done else "; ".join(["the task was not done", *errors])
            return env.made(pursued, item, {"robot": "retargeted", "errors": errors}, problem)

        yield make


def _next_steps(
    imaginer: Imaginer, bench: WorkbenchEnv, whole: Imagination, seed: int, options: GenerationOptions
) -> Iterator[KeyStep]:
    """The plan's key steps, each imagined when it is asked for, from what the camera sees then."""
    for index, sentence in enumerate(whole.plan.steps):
        if index == 0 and options.candidates == 1:
            step = whole.steps[0]
        else:
            step = imagine_next(
                imaginer,
                bench.picture(),
                sentence,
                task=whole.task,
                index=index,
                candidates=options.candidates,
                seed=seed,
            )
        if options.least_trust:
            check_trust(step, options.candidates, options.least_trust)
        yield step


class Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps what a robot sees, knows and does from one reset to the next.

    Args:
        env: a Workbench environment, wrapped or not.

    Attributes:
        pursued: index of the key step that the next action belongs to; None: what the environment says.
        offered: the key steps that a `SubgoalWrapper` inside gave, in the order in which they were pursued; one that
            is gone back to stands there twice.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self.pursued: int | None = None
        self.offered: list[KeyStep] = []
        self._subgoals = _wrapper_in(env)
        self._given: KeyStep | object | None = _NEVER

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and forget."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.pursued, self.offered, self._given = None, [], _NEVER
        self._frames, self._states, self._actions = [self._picture()], [_state(observation)], []
        self._rewards, self._success, self._order = [], [], []
        self._due = int(info["key_step"])
        self._terminated = False
        return observation, info

    def step(self, action: NDArray[np.float32]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment and keep what was seen and done."""
        if self._subgoals is not None:
            self._note(self._subgoals.key_step)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions.append(np.asarray(action, np.float32))
        self._rewards.append(float(reward))
        self._success.append(bool(info["is_success"]))
        self._order.append(self._due if self.pursued is None else self.pursued)
        self._due = max(self._due, int(info["key_step"]))
        self._terminated = bool(info["is_success"])
        self._frames.append(self._picture())
        self._states.append(_state(observation))
        return observation, reward, terminated, truncated, info

    def _note(self, given: KeyStep | None) -> None:
        """What the next action pursues: while nothing is imagined yet, or nothing could be, a step that says so."""
        if self._given is not given:
            self._given = given
            frame = self._frames[-1]
            nothing = _plain_step(len(self.offered), "no subgoal", frame, frame, {"subgoal": "none"})
            self.offered.append(given or nothing)
        self.pursued = len(self.offered) - 1

    def true_key_steps(self, provenance: dict[str, Any]) -> list[KeyStep]:
        """The instruction's key steps, with the robot's own frames before and after each."""
        order, made = np.array(self._order), []
        for index, goal in enumerate(self.bench_env.instruction.steps):
            at = np.flatnonzero(order == index)
            first, last = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
            made.append(_plain_step(index, goal.description, self._frames[first], self._frames[last], provenance))
        return made

    def made(self, key_steps: list[KeyStep], item: Item, told: dict[str, Any], problem: str) -> Made:
        """The episode of what was kept; its last frame is the one before the last action."""
        if not self._actions:
            return Made(None, problem or "nothing was to be done")
        robot = RobotTrack(
            states=np.stack(self._states[:-1]),
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, np.float32),
            success=np.array(self._success, bool),
            state_names=STATE_NAMES,
            action_names=ACTION_NAMES,
            terminated=self._terminated,
        )
        record = {**told, "item": item.as_dict(), "success": not problem}
        frames = np.stack(self._frames[:-1])
        task = self.bench_env.instruction.task
        return Made(episode_of_rollout(task, frames, CONTROL_HZ, robot, self._order, key_steps, record), problem)

    @property
    def bench_env(self) -> WorkbenchEnv:
        """The environment inside."""
        bench = self.env.unwrapped
        assert isinstance(bench, WorkbenchEnv)
        return bench

    def _picture(self) -> NDArray[np.uint8]:
        return self.bench_env.picture()


def _drive(env: Recorder, policy: Policy, item: Item, told: dict[str, Any]) -> Made:
    """Let a policy do one episode."""
    observation, info = env.reset(seed=item.seed, options={"scene_seed": item.scene})
    policy.reset()
    over = bool(info["is_success"])
    while not over:
        observation, _, terminated, truncated, info = env.step(policy.act(observation))
        over = terminated or truncated
    problem = "" if info["is_success"] else f"the task was not done: stuck at {info['description']!r}"
    return env.made(env.offered or env.true_key_steps({**told, "seed": item.scene}), item, told, problem)


def _wrapper_in(env: Env) -> SubgoalWrapper | None:
    while not isinstance(env, SubgoalWrapper):
        if not isinstance(env, gymnasium.Wrapper):
            return None
        env = env.env
    return env


@contextmanager
def _environments(make: Callable[[str], Env]) -> Iterator[Callable[[str], Recorder]]:
    """One recorded environment for each task, made when it is first asked for."""
    made: dict[str, Recorder] = {}

    def env_of(env_id: str) -> Recorder:
        if env_id not in made:
            made[env_id] = Recorder(make(env_id))
        return made[env_id]

    try:
        yield env_of
    finally:
        for env in made.values():
            env.close()


def _state(observation: Any) -> NDArray[np.float32]:
    # Policies' inputs have the robot apart; the environment's own observation begins with it.
    vector = observation["robot"] if "robot" in observation else observation["observation"][:STATE_SIZE]
    return np.array(vector, np.float32)


def _plain_step(
    index: int, description: str, image: NDArray[np.uint8], goal: NDArray[np.uint8], provenance: dict[str, Any]
) -> KeyStep:
    """A key step that nobody imagined: without a clip, hands and scores."""
    nowhere = np.zeros(image.shape[:2], np.float32)
    region = RegionOfMotion(nowhere, nowhere > 0, np.zeros((0, *nowhere.shape), bool), nowhere)
    empty = np.zeros((0, *image.shape), np.uint8)
    return KeyStep(
        index, description, image, goal, empty, float(CONTROL_HZ), no_hands(0), region, provenance=provenance
    )
