"""`SubgoalWrapper`: imagined subgoals in the observations of a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ksgen_agent.frames import check_seed
from ksgen_agent.imaginer import Imaginer
from ksgen_agent.subgoal import CLIP_FRAMES, EMBEDDING_DIMENSION
from ksgen_envs.subgoals.imagining import Imagining, Request, wait_for
from ksgen_envs.subgoals.layout import KEYS, Composer, Mode, SubgoalLayout
from ksgen_envs.subgoals.pursuit import Fallback, Pursuit, Rules
from ksgen_envs.subgoals.sources import Task, check_camera_frame, find_source, find_task
from ksgen_envs.subgoals.verify import StepVerifier
from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep


class SubgoalWrapper(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Imagines the task at every reset and offers the current key step as a subgoal.

    The observation becomes a Dict (one level, as learners want it): the environment's own entries (or ``observation``
    for an observation that is no Dict), ``subgoal_<key>`` for each of ``keys``, and ``subgoal_valid``, 1 where there
    is a subgoal; without one the other arrays are zeros. Arrays, dtypes and ranges are those of `ksgen_agent.Subgoal`,
    with keypoints cut off at 8 image sizes. With ``mode="goal"`` the camera's picture is ``achieved_goal`` and the
    subgoal's goal picture ``desired_goal``, both (H, W, 3) uint8, in place of what the environment calls so.

    ``info["subgoal"]`` says ``text`` (the key step's sentence), ``valid``, ``steps_done`` and ``total`` (key steps of
    the plan), ``plan_done``, ``reimaginations`` (in this episode), ``pending`` (one is under way) and ``error`` (why
    there is no new plan, or ""). When all key steps are done the last one stays on offer.

    Imagination happens in `reset`, which waits for it up to ``reset_timeout``; what is later than that goes on in the
    background and is taken over by the first `step` that finds it ready. `step` never waits. When a key step takes
    more than ``step_limit`` environment steps, or the verifier sees work undone, a new plan is imagined in the
    background from the present frame and taken over when it is ready; until then the old one is followed.

    Reward, termination and truncation are the environment's own. The wrapper never closes the imaginer.

    Args:
        env: any environment with RGB pictures.
        imaginer: a `ksgen_agent.Agent`, a client, a replay, or anything else with the protocol. It is called from
            one background thread; a parameter ``cancel`` (a `threading.Event`) of its ``imagine`` is used where there
            is one.
        task: a sentence, a function of (env, info), or None for ``info["task"]`` or else the attribute ``task``.
        frame: ``"render"`` (``render_mode="rgb_array"``), ``"observation"`` for a pixel observation, or
            ``"observation/<key>"`` for an entry of a Dict observation.
        mode: ``"observation"`` or ``"goal"``.
        keys: which arrays of the subgoal; None for all, or with ``mode="goal"`` for ``("goal",)``.
        verifier: says when key steps are done (`InfoVerifier`, `PictureVerifier` or your own); None: never, the
            first key step stays on offer.
        image_size: (height, width) of goal pictures and masks; None for the camera's own, which with ``"render"``
            takes one reset of the environment here, as in Gymnasium's own `AddRenderObservation`.
        clip_frames: T of the keypoints; clips of another length are sampled at T even times.
        embedding_dimension: length of the text embedding; must be the imaginer's own where that key is used.
        reset_timeout: seconds that `reset` waits for the imagination; 0 to go on at once.
        step_limit, max_reimaginations, verify_every, fallback: see `ksgen_envs.subgoals.pursuit.Rules`.
        imagination_seed: one seed for every imagination; None: drawn from a generator that ``reset(seed=...)`` seeds
            (the environment's own random numbers are not touched).
        allow_out_of_domain: passed to the imaginer.

    Raises:
        InvalidInput: an argument cannot be used, or names in the observation collide.
        InvalidFrame: the camera gives no RGB picture (here or at any frame).
        InvalidTask: at reset, there is no task.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        imaginer: Imaginer,
        *,
        task: Task = None,
        frame: str = "render",
        mode: Mode = "observation",
        keys: Sequence[str] | None = None,
        verifier: StepVerifier | None = None,
        image_size: tuple[int, int] | None = None,
        clip_frames: int = CLIP_FRAMES,
        embedding_dimension: int = EMBEDDING_DIMENSION,
        reset_timeout: float = 60.0,
        step_limit: int | None = None,
        max_reimaginations: int = 3,
        verify_every: int = 1,
        fallback: Fallback = "none",
        imagination_seed: int | None = None,
        allow_out_of_domain: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "env", "__class__")}
        # By reference, apart from the environment: an imaginer cannot be copied.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **{**given, "imaginer": Shared(imaginer)})
        gym.Wrapper.__init__(self, env)
        imaginer = imaginer.value if isinstance(imaginer, Shared) else imaginer
        self._source = find_source(frame, env.observation_space, env.render_mode)
        if image_size is None:
            image_size = self._camera_size()
        self._layout = make_layout(mode, keys, image_size, clip_frames, embedding_dimension)
        self._composer = Composer(mode, env.observation_space, self._layout)
        self.observation_space = self._composer.space()
        self._task = task
        self._verifier = verifier
        self._reset_timeout = check_timeout(reset_timeout)
        rules = Rules(step_limit, max_reimaginations, verify_every, fallback)
        self._pursuit = Pursuit(self._layout, verifier, rules)
        self._seeds = Seeds(imagination_seed)
        self._imagining = Imagining(imaginer, allow_out_of_domain=allow_out_of_domain)
        self._latest: tuple[Any, Mapping[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reset the environment and imagine its task, within ``reset_timeout`` seconds.

        Raises:
            KSGenError: the wrapper is closed; or, with ``fallback="raise"``, why there is no imagination.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        self._seeds.reset(seed)
        picture = self._picture(observation)
        (ticket,) = self._imagining.submit([self._request(picture, info)])
        self._pursuit.begin(ticket)
        wait_for([ticket], self._reset_timeout)
        self._pursuit.settle(self._reset_timeout)
        return self._outcome(observation, info, picture)

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Step the environment; never waits for an imagination."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        last = bool(terminated or truncated)
        self._pursuit.poll()
        check = self._pursuit.wants_check(last)
        needed = self._composer.needs_frame or (check and self._verifier is not None and self._verifier.needs_frame)
        picture = self._picture(observation) if needed else None
        if self._pursuit.note(picture, info, check=check) and not last:
            picture = self._picture(observation) if picture is None else picture
            self._imagine_anew(picture, info)
        observation, info = self._outcome(observation, info, picture)
        return observation, reward, terminated, truncated, info

    @property
    def key_step(self) -> KeyStep | None:
        """The key step on offer, with all that was imagined of it; None where there is none."""
        return self._pursuit.key_step

    def reimagine(self) -> None:
        """Imagine a new plan in the background from the present frame, whatever the rules say.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self._latest is None:
            raise gym.error.ResetNeeded("there is no frame to imagine from; reset the environment first")
        observation, info = self._latest
        self._imagine_anew(self._picture(observation), info)

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """The environment's own, of its own goals (for hindsight relabelling with ``mode="observation"``).

        Raises:
            AttributeError: the environment has none.
            InvalidInput: with ``mode="goal"``: it knows no reward of pictures.
        """
        if self._composer.mode == "goal":
            raise InvalidInput(
                "the environment's compute_reward takes its own goals, not pictures; use mode='observation' for "
                "hindsight relabelling"
            )
        return self.env.get_wrapper_attr("compute_reward")(achieved_goal, desired_goal, info)

    def close(self) -> None:
        """Cancel what is under way, wait a moment for its thread, and close the environment (not the imaginer)."""
        self._pursuit.cancel()
        self._imagining.close()
        super().close()

    def _imagine_anew(self, picture: NDArray[np.uint8], info: Mapping[str, Any]) -> None:
        (ticket,) = self._imagining.submit([self._request(picture, info)])
        self._pursuit.reimagine(ticket)

    def _request(self, picture: NDArray[np.uint8], info: Mapping[str, Any]) -> Request:
        task = find_task(self._task, self.env, info, lambda: self.env.get_wrapper_attr("task"))
        return Request(picture, task, self._seeds.draw(), dict(info))

    def _picture(self, observation: Any) -> NDArray[np.uint8]:
        picture = self.env.render() if self._source.rendered else self._source.pick(observation)
        return check_camera_frame(picture, self._source.name)

    def _camera_size(self) -> tuple[int, int]:
        if not self._source.rendered:
            space = self._source.pick(self.env.observation_space)
            return check_camera_frame(np.zeros(space.shape, np.uint8), self._source.name).shape[:2]
        self.env.reset()
        return check_camera_frame(self.env.render(), self._source.name).shape[:2]

    def _outcome(
        self, observation: Any, info: Mapping[str, Any], picture: NDArray[np.uint8] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        self._latest = (observation, info)
        shown = self._layout.resize(picture).copy() if self._composer.needs_frame and picture is not None else None
        whole = self._composer.compose(observation, self._pursuit.arrays(), shown)
        return whole, {**info, "subgoal": self._pursuit.info()}


@dataclass(frozen=True)
class Shared:
    """Something that a deep copy shares, so that ``env.spec`` can be copied and made although it holds an imaginer."""

    value: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self

    def __copy__(self) -> Shared:
        return self


class Seeds:
    """Seeds of imaginations: always the same, or drawn from a generator that an environment's reset seeds."""

    def __init__(self, fixed: int | None) -> None:
        self._fixed = None if fixed is None else check_seed(fixed)
        self._generator = np.random.default_rng()

    def reset(self, seed: int | None) -> None:
        """Start over where the reset has a seed, otherwise go on."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)

    def draw(self) -> int:
        """The next seed."""
        return int(self._generator.integers(2**31)) if self._fixed is None else self._fixed


def make_layout(
    mode: Mode, keys: Sequence[str] | None, image_size: tuple[int, int], clip_frames: int, embedding_dimension: int
) -> SubgoalLayout:
    """The layout that a wrapper's arguments ask for.

    Raises:
        InvalidInput: a size or a key cannot be used.
    """
    if keys is None:
        keys = ("goal",) if mode == "goal" else KEYS
    height, width = image_size
    return SubgoalLayout(int(height), int(width), int(clip_frames), int(embedding_dimension), tuple(keys))


def check_timeout(seconds: float) -> float:
    """Seconds of at least 0, finite.

    Raises:
        InvalidInput: anything else.
    """
    if not 0 <= seconds < 1e6:
        raise InvalidInput(f"the time limit is {seconds!r}; pass seconds of at least 0 and below a million")
    return float(seconds)
