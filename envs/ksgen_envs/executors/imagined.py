"""The next key step of a task, imagined from the robot's camera: what some imaginations agree on.

A robot re-imagines after each step from what it sees. What has been done already it leaves out by asking for the key
step by its sentence, best from an imaginer that plans nothing else (`ksgen_models.planner.VerbatimPlanner`); where the
planner takes such a sentence for a whole task, or knows none like it, the task is imagined, and of that plan
the key step like it is taken, or else the one at the same place.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_envs.executors.agreement import agreed
from ksgen_envs.executors.contact import contact_of
from ksgen_models.errors import KSGenError, LowConfidence, UnknownTask
from ksgen_models.types import KeyStep

if TYPE_CHECKING:
    from ksgen_agent import Imaginer

_WORD = re.compile(r"[a-z]+")
_SAY_NOTHING = frozenset({"the", "a", "an", "it", "and", "to", "of", "on", "onto", "in", "into", "put", "take"})
_SHARED = 0.6  # of the words of the shorter sentence


def imagine_next(
    imaginer: Imaginer,
    frame: NDArray[np.uint8],
    sentence: str,
    *,
    task: str,
    index: int,
    candidates: int = 4,
    seed: int = 0,
) -> KeyStep:
    """Imagine a key step from what the camera sees, and take what the candidates agree on (`agreement.agreed`).

    Args:
        imaginer: an agent, or a client of one.
        frame: (H, W, 3) uint8, without the robot in it.
        sentence: of the key step.
        task: that it belongs to, for planners that plan no single sentence.
        index: of the key step in the task's plan.
        candidates: imaginations, with seeds from ``seed`` on.
        seed: of the first.

    Raises:
        KSGenError: no candidate came into being; the last one's error.
    """
    found: list[KeyStep] = []
    failure: KSGenError = LowConfidence("no candidate was asked for", score=0.0, threshold=1.0)
    for candidate in range(seed, seed + candidates):
        try:
            found.append(_one(imaginer, frame, sentence, task, index, candidate))
        except KSGenError as exc:
            failure = exc
    if not found:
        raise failure
    return agreed(found)


def _one(imaginer: Imaginer, frame: NDArray[np.uint8], sentence: str, task: str, index: int, seed: int) -> KeyStep:
    try:
        with closing(imaginer.imagine_stream(frame, sentence, seed=seed)) as stream:
            step = next(stream)
        if _alike(step.description, sentence):
            return step
    except UnknownTask:
        pass
    steps = []
    with closing(imaginer.imagine_stream(frame, task, seed=seed)) as stream:
        for step in stream:
            if _alike(step.description, sentence):
                return step
            steps.append(step)
    if index >= len(steps):
        raise UnknownTask(sentence)
    return steps[index]


def _alike(one: str, other: str) -> bool:
    # Whether two sentences ask for the same, so far as words tell.
    first, second = (set(_WORD.findall(sentence.lower())) - _SAY_NOTHING for sentence in (one, other))
    shared = len(first & second) / max(min(len(first), len(second)), 1)
    return contact_of(one) == contact_of(other) and shared > _SHARED
