"""Times the forward calls of an agent's networks wherever they run, and makes them again without the agent.

A forward call is a call of ``forward`` of a torch module that a part holds, or of another method of it that computes
(`METHODS`), or one `HandLandmarker` detection. Of nested calls only the outermost counts.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from typing import Any

from ksgen_models.interfaces import Parts

METHODS = ("forward", "condition", "skills", "encode", "decode", "distance")
LANDMARKER = "HandLandmarker"
STAGES = {
    "domain_check": ("score", "domain check"),
    "planner": ("plan", "planner"),
    "sentence_encoder": ("embed", "sentence encoder"),
    "image_generator": ("draw", "KIG"),
    "region_model": ("predict", "region of motion"),
    "video_generator": ("generate", "clip"),
    "tracker": ("track", "hand track"),
}
"""Field of `Parts` → its method that does the work, and what that is called."""


@dataclass(frozen=True)
class Timed:
    """One call.

    Attributes:
        label: whose.
        thread: identity of the thread that it ran in.
        begin, end: seconds, of `time.perf_counter`.
    """

    label: str
    thread: int
    begin: float
    end: float


@dataclass(frozen=True)
class Call:
    """A call that can be made again."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Watch:
    """Times outermost calls on all threads; with ``keep`` it also keeps what they were called with.

    Attributes:
        timed: the calls so far, in the order in which they ended.
        calls: the same with their arguments, if they are kept.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.timed: list[Timed] = []
        self.calls: list[Call] = []
        self._keep = keep
        self._inside = threading.local()

    def wrap(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        """The same function, timed."""

        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            if getattr(self._inside, "call", False):
                return function(*arguments, **options)
            self._inside.call = True
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.timed.append(Timed(label, threading.get_ident(), begin, time.perf_counter()))
                self._inside.call = False
                if self._keep:
                    self.calls.append(Call(function, arguments, options))

        return run


@contextlib.contextmanager
def watched(parts: Parts, watch: Watch) -> Iterator[None]:
    """Have every forward call of the parts' networks timed while the block runs."""
    from ksgen_models.hands.landmarker import Landmarker

    with contextlib.ExitStack() as stack:
        for network in networks_of(parts):
            for name in METHODS:
                method = getattr(network, name, None)
                if callable(method):
                    setattr(network, name, watch.wrap(method, type(network).__name__))
                    stack.callback(delattr, network, name)
        detect = Landmarker.detect
        Landmarker.detect = watch.wrap(detect, LANDMARKER)
        stack.callback(setattr, Landmarker, "detect", detect)
        yield


def networks_of(parts: Parts) -> list[Any]:
    """The outermost torch modules that the parts hold, each once."""
    from torch import nn

    found: dict[int, Any] = {}
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found[id(value)] = value
        elif isinstance(value, dict):
            for item in value.values():
                look(item, depth + 1)
        elif isinstance(value, list | tuple):
            for item in value:
                look(item, depth + 1)
        elif type(value).__module__.partition(".")[0].startswith(("ksgen", "diffusers")):
            for item in vars(value).values() if hasattr(value, "__dict__") else _slots(value):
                look(item, depth + 1)

    for field in fields(parts):
        look(getattr(parts, field.name), 0)
    return list(found.values())


def again(calls: list[Call]) -> None:
    """Make the calls once more, one after the other on this thread, and nothing else."""
    import torch

    with torch.inference_mode():
        for call in calls:
            call.function(*call.arguments, **call.options)


def staged(parts: Parts, watch: Watch) -> Parts:
    """The same parts for one imagination at a time, timed by ``watch`` as stages of it (`STAGES`)."""
    wrapped: dict[str, Any] = {}
    for name, (method, label) in STAGES.items():
        part = getattr(parts, name)
        if part is not None:
            wrapped[name] = _Staged(part, method, watch.wrap(getattr(part, method), label))
    return replace(parts, batch=1, **wrapped)


class _Staged:
    """A part with one of its methods replaced."""

    def __init__(self, part: Any, method: str, timed: Callable[..., Any]) -> None:
        self._part = part
        setattr(self, method, timed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


def _slots(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in fields(value)] if is_dataclass(value) else []
