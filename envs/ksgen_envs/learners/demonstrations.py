"""The scripted expert's episodes: collected with disturbances, kept on disk, put together for training.

The expert's actions are the labels. What is carried out is now and then disturbed for a moment, so that the episodes
show how one comes back to the path; a policy that has only seen the path does not know what to do beside it (Laskey et
al., "DART: Noise Injection for Robust Imitation Learning", CoRL 2017).

On disk an episode is ``<task>/<scene seed>.npz``, without pickled objects: per step the inputs of
`ksgen_envs.learners.inputs` and ``actions`` (N, 5); sentences once each (``sentences`` (S, 384) and ``sentence``
(N,) int64); ``task`` and ``names`` once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.expert import Expert
from ksgen_envs.learners.inputs import Inputs, InputSpec
from ksgen_models.errors import DatasetError

_MOVES = 4  # the first numbers of an action; the grip is never disturbed
_LASTS = (4, 13)  # environment steps that a disturbance lasts
_CHANCE = 0.03  # that one begins at a step
_RECIPE = "demonstrations.json"


@dataclass(frozen=True)
class Recipe:
    """What episodes are collected with.

    Attributes:
        inputs: of the policy that is to learn from them.
        noise: standard deviation of disturbances, in units of an action; 0 for none.
    """

    inputs: InputSpec
    noise: float = 0.4


@dataclass(frozen=True, eq=False)
class Episode:
    """What the expert did, N steps.

    Attributes:
        inputs: (N, ...) by name, without the words.
        actions: (N, 5) float32.
        sentence: (N,) int64, row of ``sentences``.
        sentences: (S, 384) float32.
        task: (384,) float32.
        names: (6, 384) float32.
        success: whether all was done.
    """

    inputs: dict[str, NDArray[Any]]
    actions: NDArray[np.float32]
    sentence: NDArray[np.int64]
    sentences: NDArray[np.float32]
    task: NDArray[np.float32]
    names: NDArray[np.float32]
    success: bool


def perform(
    env: gymnasium.Env[Any, Any], scene_seed: int, *, noise: float = 0.0, instruction: int | None = None
) -> Episode:
    """Let the expert do one episode.

    Args:
        env: of `ksgen_envs.learners.inputs.make_env`.
        scene_seed: of the scene, of the disturbances and of the choice of an instruction.
        noise: see `Recipe`.
        instruction: index into `Workbench.instructions`; None: any, drawn.
    """
    from ksgen_envs.workbench import Workbench

    rng = np.random.default_rng([scene_seed, 2_750_159])
    if instruction is None:
        unwrapped: Any = env.unwrapped
        instruction = int(rng.integers(len(Workbench(unwrapped.env_id, scene_seed).instructions())))
    options = {"scene_seed": scene_seed, "instruction": instruction}
    inputs, info = env.reset(seed=scene_seed, options=options)
    expert = Expert(env)
    seen: list[Inputs] = []
    actions: list[NDArray[np.float32]] = []
    push, lasts, over = np.zeros(_MOVES), 0, bool(info["is_success"])
    while not over:
        action = expert.act({"observation": inputs["robot"]})
        seen.append(inputs)
        actions.append(action)
        if lasts == 0 and noise and rng.random() < _CHANCE:
            push, lasts = rng.normal(0.0, noise, _MOVES), int(rng.integers(*_LASTS))
        disturbed = action.copy()
        if lasts:
            disturbed[:_MOVES] = np.clip(action[:_MOVES] + push, -1.0, 1.0)
            lasts -= 1
        inputs, _, terminated, truncated, info = env.step(disturbed)
        over = terminated or truncated
    return _episode(seen, actions, bool(info["is_success"]))


def collect(
    env: gymnasium.Env[Any, Any], folder: Path, recipe: Recipe, seeds: Sequence[int]
) -> Iterator[tuple[int, bool]]:
    """Write the successful episodes of some scenes; what was tried already is not tried again.

    Args:
        env: of `make_env`, with true subgoals where the recipe's condition is ``"subgoal"``.
        folder: of all episodes.
        recipe: of all episodes in the folder.
        seeds: of scenes.

    Yields:
        Scene seed, and whether there is an episode of it now.

    Raises:
        DatasetError: the folder's episodes were collected with another recipe.
    """
    unwrapped: Any = env.unwrapped
    _agree(folder, recipe)
    for seed in seeds:
        path = episode_path(folder, unwrapped.env_id, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        failed = path.with_suffix(".failed")
        if path.is_file() or failed.is_file():
            yield seed, path.is_file()
            continue
        episode = perform(env, seed, noise=recipe.noise)
        if episode.success:
            _write(path, episode)
        else:
            failed.touch()  # not to be tried again when the collection goes on
        yield seed, episode.success


def episode_path(folder: Path, env_id: str, scene_seed: int) -> Path:
    """Where the episode of a scene lies."""
    return folder / env_id.rpartition("/")[2] / f"{scene_seed}.npz"


def read(path: Path) -> Episode:
    """One episode.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        fixed = {name: arrays.pop(name) for name in ("actions", "sentence", "sentences", "task", "names")}
    except (OSError, ValueError, KeyError, EOFError) as exc:
        raise DatasetError(f"{path} is no episode of the expert ({exc}); delete it and collect again") from exc
    return Episode(arrays, **fixed, success=True)


def _episode(seen: list[Inputs], actions: list[NDArray[np.float32]], success: bool) -> Episode:
    if not seen:  # nothing was to be done
        return Episode({}, np.zeros((0, 5), np.float32), *_no_words(), success=False)
    words = ("task", "names", "sentence")
    stepwise = {name: np.stack([inputs[name] for inputs in seen]) for name in seen[0] if name not in words}
    sentences, row = np.unique(np.stack([inputs["sentence"] for inputs in seen]), axis=0, return_inverse=True)
    return Episode(
        stepwise, np.stack(actions), row.ravel().astype(np.int64), sentences, seen[0]["task"], seen[0]["names"], success
    )


def _no_words() -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    nothing = np.zeros((0, 0), np.float32)
    return np.zeros(0, np.int64), nothing, nothing, nothing


def _agree(folder: Path, recipe: Recipe) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / _RECIPE, json.dumps(asdict(recipe), indent=1)
    if not path.is_file():
        path.write_text(text, "utf-8")
    elif path.read_text("utf-8") != text:
        raise DatasetError(
            f"the episodes in {folder} were collected with {path.read_text('utf-8')}, not with {text}; use another "
            "folder"
        )


def _write(path: Path, episode: Episode) -> None:
    # The file appears whole or not at all.
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            arrays: dict[str, Any] = dict(
                actions=episode.actions,
                sentence=episode.sentence,
                sentences=episode.sentences,
                task=episode.task,
                names=episode.names,
                **episode.inputs,
            )
            np.savez_compressed(file, **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
