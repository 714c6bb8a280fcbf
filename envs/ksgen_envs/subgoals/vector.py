"""`VectorSubgoalWrapper`: the same for environments that step together, their imaginations in batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ksgen_agent.imaginer import Imaginer
from ksgen_agent.subgoal import CLIP_FRAMES, EMBEDDING_DIMENSION
from ksgen_envs.subgoals.imagining import Imagining, Request, wait_for
from ksgen_envs.subgoals.layout import Composer, Mode
from ksgen_envs.subgoals.pursuit import Fallback, Pursuit, Rules
from ksgen_envs.subgoals.sources import check_camera_frame, find_source, find_task
from ksgen_envs.subgoals.verify import StepVerifier
from ksgen_envs.subgoals.wrapper import Seeds, check_timeout, make_layout
from ksgen_models.errors import InvalidInput

Tasks = str | Sequence[str] | Callable[[Any, Mapping[str, Any]], str] | None
"""One sentence for all, one for each environment, a function of (envs, that environment's info), or None."""

Infos = list[dict[str, Any]]


class VectorSubgoalWrapper(VectorWrapper[Any, Any, Any, Any, Any]):
    """Imagined subgoals for ``gymnasium.vector`` environments (`SyncVectorEnv`, `AsyncVectorEnv`, or another).

    Observations, ``infos["subgoal"]`` (batched as Gymnasium batches infos) and all arguments not named below are as in
    `SubgoalWrapper`. The requests of all environments that reset together go through one call of the imaginer's
    ``imagine_batch`` where it has one (see `ksgen_envs.subgoals.BatchImaginer`), otherwise through ``imagine`` in at
    most ``workers`` threads at once.

    Autoreset happens inside the vector environment's `step`, and the new episodes need subgoals at once, so a `step`
    in which environments were reset waits for their imaginations, up to ``autoreset_timeout``; with 0 it never waits,
    and each is taken over by the first step that finds it ready. Next-step autoreset, same-step autoreset and disabled
    autoreset (with ``options={"reset_mask": ...}``) are understood. With same-step autoreset the last picture of an
    episode cannot be rendered any more: ``final_obs`` carries the subgoal, judged by ``final_info`` and, where the
    frame comes from the observation, by the last picture; with ``frame="render"`` its ``achieved_goal`` (``mode=
    "goal"``) is the last picture rendered before.

    Args:
        env: vector environment.
        imaginer: shared by all, and called from several threads where it has no ``imagine_batch``.
        task: see `Tasks`.
        image_size: None needs one reset of the environments here with ``frame="render"``.
        autoreset_timeout: seconds that a `step` with autoresets may wait; None for ``reset_timeout``.
        workers: calls of the imaginer at once.

    Raises:
        InvalidInput, InvalidFrame, InvalidTask: as for `SubgoalWrapper`; or the autoreset mode is unknown.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        imaginer: Imaginer,
        *,
        task: Tasks = None,
        frame: str = "render",
        mode: Mode = "observation",
        keys: Sequence[str] | None = None,
        verifier: StepVerifier | None = None,
        image_size: tuple[int, int] | None = None,
        clip_frames: int = CLIP_FRAMES,
        embedding_dimension: int = EMBEDDING_DIMENSION,
        reset_timeout: float = 60.0,
        autoreset_timeout: float | None = None,
        step_limit: int | None = None,
        max_reimaginations: int = 3,
        verify_every: int = 1,
        fallback: Fallback = "none",
        imagination_seed: int | None = None,
        allow_out_of_domain: bool = False,
        workers: int = 4,
    ) -> None:
        super().__init__(env)
        if workers < 1:
            raise InvalidInput(f"workers is {workers}; at least 1 thread must call the imaginer")
        self._autoreset = _autoreset_mode(env)
        self._tasks = _check_tasks(task, env.num_envs)
        self._source = find_source(frame, env.single_observation_space, env.render_mode)
        if image_size is None:
            image_size = self._camera_size()
        layout = make_layout(mode, keys, image_size, clip_frames, embedding_dimension)
        self._layout = layout
        self._composer = Composer(mode, env.single_observation_space, layout)
        self.single_observation_space = self._composer.space()
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._verifier = verifier
        self._reset_timeout = check_timeout(reset_timeout)
        self._autoreset_timeout = self._reset_timeout if autoreset_timeout is None else check_timeout(autoreset_timeout)
        rules = Rules(step_limit, max_reimaginations, verify_every, fallback)
        self._pursuits = [Pursuit(layout, verifier, rules) for _ in range(env.num_envs)]
        self._seeds = [Seeds(imagination_seed) for _ in range(env.num_envs)]
        self._imagining = Imagining(imaginer, workers=workers, allow_out_of_domain=allow_out_of_domain)
        self._done = np.zeros(env.num_envs, bool)  # which ended in the last step
        self._shown: list[NDArray[np.uint8] | None] = [None] * env.num_envs  # achieved_goal, last step's

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``, and imagine their tasks.

        Raises:
            KSGenError: the wrapper is closed; or, with ``fallback="raise"``, why there is no imagination.
        """
        mask = np.ones(self.num_envs, bool)
        if options is not None and "reset_mask" in options:
            mask = np.array(options["reset_mask"], bool)  # Gymnasium takes it out of the options
        observations, infos = self.env.reset(seed=seed, options=options)  # pyright: ignore[reportArgumentType]
        for index, (seeds, own) in enumerate(zip(self._seeds, _spread(seed, self.num_envs), strict=True)):
            if mask[index]:
                seeds.reset(own)
        self._done[mask] = False
        pictures = _Pictures(self, observations)
        self._begin(np.flatnonzero(mask), pictures, split_infos(infos, self.num_envs), self._reset_timeout)
        return self._compose(observations, pictures), self._add_subgoals(infos)

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        """Step all environments; waits only for imaginations of those that were reset meanwhile."""
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        done = np.asarray(terminations) | np.asarray(truncations)
        reset = {AutoresetMode.NEXT_STEP: self._done, AutoresetMode.SAME_STEP: done}.get(self._autoreset, done & False)
        pictures, each = _Pictures(self, observations), split_infos(infos, self.num_envs)
        for pursuit in self._pursuits:
            pursuit.poll()
        behind = []
        for index in range(self.num_envs):
            if not reset[index]:
                if self._note(index, pictures, each[index], last=bool(done[index])) and not done[index]:
                    behind.append(index)
            elif self._autoreset == AutoresetMode.SAME_STEP:
                self._end(index, infos, each[index])
        self._done = done.copy()
        self._reimagine(behind, pictures, each)
        self._begin(np.flatnonzero(reset), pictures, each, self._autoreset_timeout)
        return self._compose(observations, pictures), rewards, terminations, truncations, self._add_subgoals(infos)

    def close(self, **kwargs: Any) -> None:
        """Cancel what is under way, wait a moment for threads, and close the environments (not the imaginer)."""
        for pursuit in self._pursuits:
            pursuit.cancel()
        self._imagining.close()
        super().close(**kwargs)

    def _begin(self, indices: NDArray[np.intp], pictures: _Pictures, infos: Infos, limit: float) -> None:
        if not len(indices):
            return
        tickets = self._imagining.submit([self._request(index, pictures, infos) for index in indices])
        for index, ticket in zip(indices, tickets, strict=True):
            self._pursuits[index].begin(ticket)
        wait_for(tickets, limit)
        for index in indices:
            self._pursuits[index].settle(limit)

    def _reimagine(self, indices: Sequence[int], pictures: _Pictures, infos: Infos) -> None:
        tickets = self._imagining.submit([self._request(index, pictures, infos) for index in indices])
        for index, ticket in zip(indices, tickets, strict=True):
            self._pursuits[index].reimagine(ticket)

    def _note(self, index: int, pictures: _Pictures, info: Mapping[str, Any], *, last: bool) -> bool:
        pursuit, verifier = self._pursuits[index], self._verifier
        check = pursuit.wants_check(last)
        picture = pictures[index] if check and verifier is not None and verifier.needs_frame else None
        return pursuit.note(picture, info, check=check)

    def _end(self, index: int, infos: dict[str, Any], info: Mapping[str, Any]) -> None:
        """Same-step autoreset: judge the last step by what is left of it, and give its observation its subgoal."""
        final = infos["final_obs"][index]
        picture = None
        if not self._source.rendered:
            picture = check_camera_frame(self._source.pick(final), self._source.name)
        pursuit = self._pursuits[index]
        pursuit.note(picture, info.get("final_info", {}), check=pursuit.wants_check(True))
        shown = self._shown[index] if picture is None else self._layout.resize(picture)
        infos["final_obs"][index] = self._composer.compose(final, pursuit.arrays(), shown)
        self._add_info(infos, {"final_info": {"subgoal": pursuit.info()}}, index)

    def _request(self, index: int, pictures: _Pictures, infos: Infos) -> Request:
        task = self._tasks[index] if isinstance(self._tasks, list) else self._tasks
        task = find_task(task, self.env, infos[index], lambda: _attribute(self.env, index))
        return Request(pictures[index], task, self._seeds[index].draw(), infos[index])

    def _camera_size(self) -> tuple[int, int]:
        if self._source.rendered:
            self.env.reset()
            return _Pictures(self, None)[0].shape[:2]
        space = self._source.pick(self.env.single_observation_space)
        return check_camera_frame(np.zeros(space.shape, np.uint8), self._source.name).shape[:2]

    def _compose(self, observations: Any, pictures: _Pictures) -> dict[str, Any]:
        arrays = [pursuit.arrays() for pursuit in self._pursuits]
        together = {key: np.stack([one[key] for one in arrays]) for key in arrays[0]}  # (N, ...)
        frames = None
        if self._composer.needs_frame:
            self._shown = [self._layout.resize(pictures[index]) for index in range(self.num_envs)]
            frames = np.stack([frame for frame in self._shown if frame is not None])
        return self._composer.compose(observations, together, frames)

    def _add_subgoals(self, infos: dict[str, Any]) -> dict[str, Any]:
        for index, pursuit in enumerate(self._pursuits):
            self._add_info(infos, {"subgoal": pursuit.info()}, index)
        return infos


class _Pictures:
    """The present pictures of all environments; rendered together, at most once, and only when one is asked for."""

    def __init__(self, wrapper: VectorSubgoalWrapper, observations: Any) -> None:
        self._wrapper = wrapper
        self._observations = observations
        self._all: list[NDArray[np.uint8]] | None = None

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        source = self._wrapper._source
        if self._all is None:
            pictures = self._wrapper.env.render() if source.rendered else source.pick(self._observations)
            if pictures is None or len(pictures) != self._wrapper.num_envs:
                count = "none" if pictures is None else len(pictures)
                raise InvalidInput(f"{source.name} gave {count} frames for {self._wrapper.num_envs} environments")
            self._all = [check_camera_frame(picture, source.name) for picture in pictures]
        return self._all[index]


def split_infos(infos: Mapping[str, Any], count: int) -> Infos:
    """Each environment's own info out of what a vector environment batched (its masks ``_<key>`` decide)."""
    each: Infos = [{} for _ in range(count)]
    for key, value in infos.items():
        if key.startswith("_") and key[1:] in infos:
            continue
        parts = split_infos(value, count) if isinstance(value, Mapping) else value
        single = not hasattr(parts, "__len__") or isinstance(parts, str) or len(parts) != count  # said once for all
        mask = infos.get(f"_{key}")
        for index in range(count) if mask is None else np.flatnonzero(mask):
            each[index][key] = parts if single else parts[index]
    return each


def _autoreset_mode(env: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    try:
        return AutoresetMode(mode)
    except ValueError as exc:
        raise InvalidInput(f"the autoreset mode {mode!r} is not known; use one of {list(AutoresetMode)}") from exc


def _check_tasks(task: Tasks, count: int) -> Any:
    if task is None or isinstance(task, str) or callable(task):
        return task
    if len(task) != count:
        raise InvalidInput(f"there are {len(task)} tasks for {count} environments; pass one each, or one for all")
    return list(task)


def _spread(seed: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """Seeds of the single environments, as Gymnasium spreads one over them."""
    if seed is None:
        return [None] * count
    return [seed + index for index in range(count)] if isinstance(seed, int | np.integer) else seed


def _attribute(env: VectorEnv[Any, Any, Any], index: int) -> Any:
    """The attribute ``task`` of one environment."""
    inner: Any = env.unwrapped
    if not hasattr(inner, "call"):
        return inner.task
    # Asked first: reading an attribute that is not there would end an AsyncVectorEnv's processes.
    if not all(inner.call("has_wrapper_attr", "task")):
        raise AttributeError("task")
    return inner.get_attr("task")[index]
