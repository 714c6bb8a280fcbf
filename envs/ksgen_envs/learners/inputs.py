"""An environment's observations as a policy's inputs, whichever condition it has.

What a policy is told of the scene and of the instruction is the same with every condition: the robot, the things on
the table slot by slot with their names, and the task's sentence. What says which key step is to be done now (its verb,
the goals, how many are done) is left out, unless the condition is the environment's goal.

Inputs are float32 arrays (``pixels``: uint8):

=============  ==================  ==================================================================
``robot``      (17,)               `ksgen_envs.robot.gripper`
``slots``      (6, 19)             `ksgen_envs.goal_env.observation`; zeros with pixels
``condition``  (C,)                `ksgen_envs.learners.condition`
``task``       (384,)              the instruction's embedding
``names``      (6, 384)            embeddings of the things' names, zeros in empty slots
``sentence``   (384,)              the subgoal's embedding, zeros without one
``pixels``     (P, P, 3)           the robot's camera, where asked for
=============  ==================  ==================================================================

With the condition ``"goal"`` the words are zeros: the goal says all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ksgen_agent.imaginer import Imaginer
from ksgen_agent.subgoal import EMBEDDING_DIMENSION
from ksgen_envs.executors.sight import Sight
from ksgen_envs.goal_env.environment import WorkbenchEnv
from ksgen_envs.goal_env.goals import SLOTS
from ksgen_envs.goal_env.observation import LIMIT, SLOT_SIZE
from ksgen_envs.goal_env.registration import ENTRY_POINT
from ksgen_envs.goals import StepGoal
from ksgen_envs.learners.condition import (
    CONDITION_SIZE,
    SUBGOAL_KEYS,
    Kind,
    no_subgoal,
    read_goal,
    read_subgoal,
    read_truth,
)
from ksgen_envs.robot.gripper import STATE_SIZE
from ksgen_envs.subgoals import InfoVerifier, SubgoalWrapper
from ksgen_models.errors import InvalidInput
from ksgen_models.interfaces import SentenceEncoder

Inputs = dict[str, NDArray[Any]]
ImaginerFor = Callable[[gymnasium.Env[Any, Any]], Imaginer]
"""Makes the imaginer for an environment; most take no notice of which."""
WORDS = EMBEDDING_DIMENSION
_CAMERA = 256  # pixels that imaginers are shown
_PATIENCE = 3_600.0  # seconds that a reset waits for an imagination


@dataclass(frozen=True)
class InputSpec:
    """What a policy takes.

    Attributes:
        kind: its condition.
        pixels: width and height of the picture it sees in place of the slots; 0: it sees the slots.
    """

    kind: Kind = "goal"
    pixels: int = 0

    def __post_init__(self) -> None:
        if self.kind not in CONDITION_SIZE:
            raise InvalidInput(f"the condition is {self.kind!r}; give one of {', '.join(CONDITION_SIZE)}")
        if self.pixels and not 32 <= self.pixels <= 256:
            raise InvalidInput(f"pixels is {self.pixels}; give 32 to 256, or 0 for none")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by name."""
        shapes = {
            "robot": (STATE_SIZE,),
            "slots": (SLOTS, SLOT_SIZE),
            "condition": (CONDITION_SIZE[self.kind],),
            "task": (WORDS,),
            "names": (SLOTS, WORDS),
            "sentence": (WORDS,),
        }
        return {**shapes, "pixels": (self.pixels, self.pixels, 3)} if self.pixels else shapes


def make_env(
    env_id: str,
    spec: InputSpec,
    *,
    encoder: SentenceEncoder | None = None,
    imaginer_for: ImaginerFor | None = None,
    truth: bool = False,
    **options: Any,
) -> gymnasium.Env[Any, Any]:
    """A Workbench environment whose observations are a policy's inputs.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        spec: of the inputs.
        encoder: of sentences; needed for the condition ``"subgoal"``.
        imaginer_for: who gives the subgoals; None: there are none.
        truth: give the simulator's own in their place (`ksgen_envs.learners.condition.read_truth`).
        options: further arguments of `gymnasium.make`.

    Raises:
        InvalidInput: an argument is missing or cannot be used.
    """
    if spec.kind == "subgoal" and encoder is None:
        raise InvalidInput("the condition 'subgoal' reads sentences; give an encoder, such as ksgen_models.text.MiniLM")
    if imaginer_for is not None and (spec.kind == "goal" or truth):
        raise InvalidInput("who imagines is given; the condition must be 'subgoal', and truth False")
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        env_id, render_mode="rgb_array", image_size=_CAMERA, disable_env_checker=True, **options
    )
    if imaginer_for is not None:
        env = SubgoalWrapper(
            env,
            imaginer_for(env),
            keys=SUBGOAL_KEYS,
            verifier=InfoVerifier("steps_done"),
            image_size=(_CAMERA, _CAMERA),
            reset_timeout=_PATIENCE,
        )
    return PolicyInputs(env, spec, encoder, truth=truth and spec.kind == "subgoal")


class PolicyInputs(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Turns a Workbench environment's observations, with or without subgoals, into a policy's inputs.

    Args:
        env: with state observations; inside, perhaps, a `SubgoalWrapper` with the keys `SUBGOAL_KEYS`.
        spec: of the inputs.
        encoder: of sentences; None with the condition ``"goal"``.
        truth: whether the simulator itself says what a subgoal's hand would.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        spec: InputSpec,
        encoder: SentenceEncoder | None = None,
        *,
        truth: bool = False,
    ) -> None:
        super().__init__(env)
        if not isinstance(env.unwrapped, WorkbenchEnv) or env.unwrapped.obs != "state":
            raise InvalidInput(f"learners take Workbench environments ({ENTRY_POINT}) with obs='state', not {env}")
        self.spec_of_inputs = spec
        self._bench_env: WorkbenchEnv = env.unwrapped
        self._encoder, self._truth = encoder, truth
        self._has_subgoals = (
            isinstance(env.observation_space, spaces.Dict) and "subgoal_valid" in env.observation_space.spaces
        )
        self.observation_space = spaces.Dict({name: _space(name, shape) for name, shape in spec.shapes().items()})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Inputs, dict[str, Any]]:
        """Reset the environment, and read its words and its camera."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._read_scene(info)
        return self.observation(observation), info

    def step(self, action: NDArray[np.float32]) -> tuple[Inputs, Any, bool, bool, dict[str, Any]]:
        """Step the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self.observation(observation), reward, terminated, truncated, info

    def observation(self, observation: dict[str, NDArray[Any]]) -> Inputs:
        """The inputs for an observation of the environment inside."""
        spec, state = self.spec_of_inputs, observation["observation"]
        end = STATE_SIZE + SLOTS * SLOT_SIZE
        inputs: Inputs = {
            "robot": state[:STATE_SIZE].copy(),
            "slots": state[STATE_SIZE:end].reshape(SLOTS, SLOT_SIZE).copy(),
            "condition": self._condition(observation),
            "task": self._task,
            "names": self._names,
            "sentence": np.zeros(WORDS, np.float32),
        }
        if self._truth:
            inputs["sentence"] = self._sentence
        elif self._has_subgoals and observation["subgoal_valid"][0]:
            inputs["sentence"] = observation["subgoal_embedding"].astype(np.float32)
        if spec.pixels:
            inputs["slots"][:] = 0.0
            inputs["pixels"] = _shrunk(self._bench_env.picture(), spec.pixels)
        return inputs

    def _condition(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        if self.spec_of_inputs.kind == "goal":
            return read_goal(observation)
        if self._truth:
            if self._step is not self._bench_env.key_step:
                self._step = self._bench_env.key_step
                self._read = read_truth(self._bench_env, self._sight)
                self._sentence = self._encoder.embed((self._step.description,))[0] if self._encoder else self._task
            return self._read.copy()
        if not self._has_subgoals:
            return no_subgoal()
        # Reading a hand costs more than a step of physics, and a subgoal stays the same for many steps.
        told = {name: observation[f"subgoal_{name}"] for name in ("valid", *SUBGOAL_KEYS)}
        if self._told is None or any(not np.array_equal(told[name], self._told[name]) for name in told):
            self._told, self._read = told, read_subgoal(observation, self._sight)
        return self._read.copy()

    def _read_scene(self, info: dict[str, Any]) -> None:
        env = self._bench_env
        self._told: dict[str, NDArray[Any]] | None = None
        self._step: StepGoal | None = None
        self._sight = Sight(env.bench.camera(env.model, env.data), env.image_size, env.image_size)
        self._task = np.zeros(WORDS, np.float32)
        self._names = np.zeros((SLOTS, WORDS), np.float32)
        if self._encoder is not None and self.spec_of_inputs.kind == "subgoal":
            names = env.bench.object_names
            self._task[:], *vectors = self._encoder.embed((info["task"], *names))
            self._names[: len(names)] = vectors


def _space(name: str, shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8) if name == "pixels" else spaces.Box(-LIMIT, LIMIT, shape, np.float32)


def _shrunk(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
