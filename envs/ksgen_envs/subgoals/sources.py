"""Where a wrapped environment's camera frame and task come from, checked before any imaginer sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ksgen_agent.frames import check_frame, check_task
from ksgen_models.errors import InvalidFrame, InvalidInput, InvalidTask

Task = str | Callable[[Any, Mapping[str, Any]], str] | None
"""A sentence, a function of (environment, info), or None for ``info["task"]`` or the environment's ``task``."""

_RENDER, _OBSERVATION = "render", "observation"


@dataclass(frozen=True)
class FrameSource:
    """Names the picture: ``render()``, the whole observation, or one entry of a Dict observation.

    Attributes:
        name: as the user wrote it.
        path: keys into the observation, or None for ``render()``.
    """

    name: str
    path: tuple[str, ...] | None

    @property
    def rendered(self) -> bool:
        """The picture comes from ``render()``."""
        return self.path is None

    def pick(self, observation: Any) -> Any:
        """The picture inside an observation, or the pictures (N, H, W, 3) inside a batch of them."""
        for key in self.path or ():
            observation = observation[key]
        return observation


def find_source(name: str, space: spaces.Space[Any], render_mode: str | None) -> FrameSource:
    """Understand ``"render"``, ``"observation"`` or ``"observation/<key>"``; ``space`` is a single environment's.

    Raises:
        InvalidInput: the name is none of these, or the environment cannot render RGB arrays.
        InvalidFrame: the observation holds no RGB picture there.
    """
    if name == _RENDER:
        if render_mode != "rgb_array":
            raise InvalidInput(
                f"the environment's render_mode is {render_mode!r}; make it with render_mode='rgb_array', or take the "
                "frame from the observation with frame='observation' or frame='observation/<key>'"
            )
        return FrameSource(name, None)
    head, _, rest = name.partition("/")
    if head != _OBSERVATION:
        raise InvalidInput(
            f"frame={name!r} is not understood; pass 'render', 'observation' or 'observation/<key of the Dict>'"
        )
    path, entry = _walk(space, rest)
    if not isinstance(entry, spaces.Box) or entry.dtype != np.uint8:
        raise InvalidFrame(f"frame={name!r} is a {entry}; it must be a Box of uint8 and shape (H, W, 3), RGB")
    check_camera_frame(np.zeros(entry.shape, np.uint8), name)
    return FrameSource(name, path)


def _walk(space: spaces.Space[Any], rest: str) -> tuple[tuple[str, ...], spaces.Space[Any]]:
    path: tuple[str, ...] = ()
    while rest:
        if not isinstance(space, spaces.Dict):
            raise InvalidInput(f"the observation has no key {rest!r}: it is a {space}")
        key = rest if rest in space.spaces else rest.partition("/")[0]  # a key may hold slashes itself
        if key not in space.spaces:
            raise InvalidInput(f"the observation has no key {key!r}; its keys are {sorted(space.spaces)}")
        path, space, rest = (*path, key), space[key], rest[len(key) + 1 :]
    return path, space


def check_camera_frame(picture: Any, name: str) -> NDArray[np.uint8]:
    """Return a copy (H, W, 3) uint8, its sides at most 1,280 pixels (see `ksgen_agent.frames.check_frame`).

    Raises:
        InvalidFrame: anything but an RGB array of uint8 and sides of 32 to 8,192 pixels; ``name`` says whose.
    """
    if not isinstance(picture, np.ndarray):
        raise InvalidFrame(f"{name} gave a {type(picture).__qualname__}, not an RGB array (H, W, 3) of uint8")
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise InvalidFrame(f"{name} gave an array of shape {picture.shape}; {_hint(picture.shape)}")
    try:
        return check_frame(picture)
    except InvalidFrame as exc:
        raise InvalidFrame(f"{name}: {exc}") from exc


def _hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return "grayscale frames are not taken; let the environment give RGB (H, W, 3)"
    if len(shape) == 3 and shape[0] == 3:
        return "this looks like channels first; give (H, W, 3)"
    return "give RGB (H, W, 3)"


def find_task(task: Task, env: Any, info: Mapping[str, Any], attribute: Callable[[], Any]) -> str:
    """The task in words.

    Args:
        task: what the user gave.
        env: passed to a callable task.
        info: the episode's reset info.
        attribute: reads the environment's ``task``; may raise AttributeError.

    Raises:
        InvalidTask: there is no task, or it is no sentence.
    """
    if isinstance(task, str):
        return check_task(task)
    if task is not None:
        return check_task(task(env, info))
    if "task" in info:
        return check_task(info["task"])
    try:
        value = attribute()
    except AttributeError:
        value = None
    if not isinstance(value, str):
        raise InvalidTask(
            'nobody said what the task is: pass task="..." or a function of (env, info), or let the environment put '
            "it into info['task'] or an attribute `task`"
        )
    return check_task(value)
