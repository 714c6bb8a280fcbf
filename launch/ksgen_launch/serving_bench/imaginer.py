"""The fake imaginer of the measurements: it makes key steps of the size that its task names, and costs next to nothing.

A task reads ``"4 key steps of 128 pixels and 12 frames, 0.5 s each"``; the seconds may be left out. What is in a key
step depends on seed and index alone, so whoever receives it can tell whether it is the right one.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Generator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.imaginer import ImaginerSpec, StreamEnd, exhaust
from ksgen_models.errors import InvalidTask
from ksgen_models.types import HAND_KEYPOINTS, HandTrack, KeyStep, Plan, RegionOfMotion

FACTORY = f"{__name__}:Sized"
MEGABYTE = "128 pixels and 12 frames"  # 1.05 MB: what the preset "mini" sends
SMALL = "32 pixels and 2 frames"  # 26 kB
_TASK = re.compile(r"(\d+) key steps of (\d+) pixels and (\d+) frames(?:, ([\d.]+) s each)?")
_EMBEDDING = 384


def describe(steps: int, size: str, seconds: float = 0.0) -> str:
    """The task of a job.

    Args:
        steps: how many key steps.
        size: `MEGABYTE`, `SMALL` or words of that form.
        seconds: what the imaginer takes for each.
    """
    return f"{steps} key steps of {size}" + (f", {seconds:g} s each" if seconds else "")


@lru_cache(maxsize=32)
def draw(side: int, frames: int, seed: int, index: int) -> KeyStep:
    """The key step of this size, seed and index; random, of right shapes, dtypes and ranges."""
    chance = np.random.default_rng((seed, index))
    picture, mask = (side, side), (frames, 2)
    image, goal = chance.integers(0, 256, (2, *picture, 3), np.uint8)
    keypoints = chance.random((frames, 2, HAND_KEYPOINTS, 3), np.float32)
    valid = chance.random(mask) > 0.5
    return KeyStep(
        index=index,
        description=f"key step {index} of seed {seed}",
        image=image,
        goal=goal,
        clip=chance.integers(0, 256, (frames, *picture, 3), np.uint8),
        fps=8.0,
        hands=HandTrack(keypoints, keypoints, valid.astype(np.float32), valid, ~valid),
        region_of_motion=RegionOfMotion(
            chance.random(picture, np.float32),
            chance.random(picture) > 0.5,
            chance.random((frames, *picture)) > 0.5,
            chance.random(picture, np.float32),
        ),
        scores={"hand_rate": float(valid.mean()), "seed": float(seed)},
        embedding=chance.random(_EMBEDDING, np.float32),
    )


class Sized:
    """Satisfies `ksgen_agent.Imaginer`."""

    def __init__(self) -> None:
        self.spec = ImaginerSpec("sized", "Key steps of a given size.", 8.0, _EMBEDDING, ("hand_rate",), 1280, {})

    def imagine(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Imagination:
        """Imagine the whole task."""
        steps, end = exhaust(self.imagine_stream(frame, task, seed=seed))
        return Imagination(task, frame, end.plan, steps, {})

    def imagine_stream(
        self,
        frame: NDArray[np.uint8],
        task: str,
        *,
        seed: int = 0,
        allow_out_of_domain: bool = False,
        cancel: threading.Event | None = None,
    ) -> Generator[KeyStep, None, StreamEnd]:
        """Make what the task names.

        Raises:
            InvalidTask: it names nothing.
        """
        count, side, frames, seconds = read(task)
        made: list[str] = []
        for index in range(count):
            if seconds and (cancel.wait(seconds) if cancel else time.sleep(seconds)):
                break
            made.append(f"key step {index} of seed {seed}")
            yield draw(side, frames, seed, index)
        return StreamEnd(Plan(task, tuple(made), 1.0, "sized"), {})


def read(task: str) -> tuple[int, int, int, float]:
    """Key steps, pixels of a side, frames and seconds that a task names.

    Raises:
        InvalidTask: it names none.
    """
    found = _TASK.fullmatch(task)
    if found is None:
        raise InvalidTask(f"{task!r} names no key steps; write it with `describe`")
    steps, side, frames, seconds = found.groups()
    return int(steps), int(side), int(frames), float(seconds or 0)


def same(first: KeyStep, second: KeyStep) -> bool:
    """Whether two key steps hold the same."""
    pairs = [(getattr(first, name), getattr(second, name)) for name in ("image", "goal", "clip", "embedding")]
    for part in ("hands", "region_of_motion"):
        one, other = vars(getattr(first, part)), vars(getattr(second, part))
        pairs += [(one[name], other[name]) for name in one]
    words = first.description == second.description and dict(first.scores) == dict(second.scores)
    return words and all(np.array_equal(one, other) for one, other in pairs)
