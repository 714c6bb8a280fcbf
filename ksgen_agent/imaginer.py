"""`Imaginer`: the one interface of everything that imagines, near or far.

The local `Agent`, a remote client, a replay of stored results and any wrapper (a cache, best of N) satisfy it, so code
that takes an `Imaginer` runs with all of them.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput
from ksgen_models.types import KeyStep, Plan

if TYPE_CHECKING:
    from ksgen_agent.imagination import Imagination


EndT = TypeVar("EndT")


@dataclass(frozen=True)
class ImaginerSpec:
    """What an imaginer is and what its results look like.

    Attributes:
        preset: name of the preset behind it.
        description: one sentence.
        fps: frames a second of the clips.
        embedding_dimension: length of a key step's text embedding.
        score_names: names of the scores, in the order of a subgoal's score vector.
        working_side: frames larger than this many pixels on a side are reduced to it.
        provenance: model ids, hashes and versions.
    """

    preset: str
    description: str
    fps: float
    embedding_dimension: int
    score_names: tuple[str, ...]
    working_side: int
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class StreamEnd:
    """What a stream of key steps may return when it is exhausted (``StopIteration.value``).

    Attributes:
        plan: the plan behind the key steps.
        timings: seconds by stage, as `Imagination.timings`.
    """

    plan: Plan
    timings: Mapping[str, float]


@runtime_checkable
class Imaginer(Protocol):
    """Imagines a task at key-step level."""

    @property
    def spec(self) -> ImaginerSpec:
        """What this imaginer is."""
        ...

    def imagine(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Imagination:
        """Imagine the whole task from a (H, W, 3) uint8 frame."""
        ...

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """Yield each key step as soon as it exists; closing the generator stops the work."""
        ...


def further_options(
    imaginer: Imaginer,
    cancel: threading.Event | None,
    candidates: int = 1,
    least_trust: float = 0.0,
    from_here: bool = True,
) -> dict[str, Any]:
    """Keyword arguments that not every imaginer's ``imagine_stream`` takes, as far as this one does.

    Args:
        imaginer: to be asked.
        cancel: stops it; left out where it takes none.
        candidates, least_trust, from_here: as in `ksgen_agent.Agent.imagine`.

    Raises:
        InvalidInput: one of these was asked for in another way than usual, and it knows nothing of it.
    """
    known = inspect.signature(imaginer.imagine_stream).parameters
    options: dict[str, Any] = {"cancel": cancel} if "cancel" in known else {}
    choices = (("candidates", candidates, 1), ("least_trust", least_trust, 0.0), ("from_here", from_here, True))
    for name, value, usual in choices:
        if name in known:
            options[name] = value
        elif value != usual:
            raise InvalidInput(f"{name} is {value}, and the imaginer {imaginer.spec.preset!r} knows no such choice")
    return options


def exhaust(stream: Generator[KeyStep, None, EndT]) -> tuple[tuple[KeyStep, ...], EndT]:
    """All key steps of a stream, and what it returned in the end."""
    steps: list[KeyStep] = []
    while True:
        try:
            steps.append(next(stream))
        except StopIteration as stopped:
            return tuple(steps), stopped.value
