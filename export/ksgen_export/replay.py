"""`ReplayImaginer`: an `Imaginer` that gives back imaginations from a dataset on disk."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ksgen_agent import Imagination, ImaginerSpec, StreamEnd
from ksgen_agent.frames import check_frame
from ksgen_export.conversion import imagination_of_episode
from ksgen_export.formats import EpisodeSource, open_source
from ksgen_models.errors import DatasetError, InvalidFrame, UnknownTask
from ksgen_models.scores import SCORE_NAMES
from ksgen_models.types import KeyStep

_SAME = 2.0  # of 255: mean difference up to which two pictures count as the same frame


class ReplayImaginer:
    """Answers from a dataset of imaginations instead of imagining: the same results, at the cost of reading them.

    What is asked for is found by the task's words and the frame: of the imaginations of that task the one whose own
    frame is equal to the given one, but for what a lossy camera picture loses. Where the dataset holds several for
    one frame, ``seed`` chooses, counted round.

    Args:
        source: a dataset's folder, or an opened one.

    Raises:
        DatasetError: there is no imagination in it.
    """

    def __init__(self, source: str | Path | EpisodeSource) -> None:
        self._source = open_source(source) if isinstance(source, str | Path) else source
        self._places: dict[str, list[int]] = {}
        self._frames: dict[int, NDArray[np.uint8]] = {}
        first: Imagination | None = None
        for index, episode in enumerate(self._source):
            if episode.kind == "imagination":
                self._places.setdefault(_words(episode.task), []).append(index)
                self._frames[index] = np.asarray(episode.arrays["frame"], np.uint8)
                first = first or imagination_of_episode(episode)
        if first is None:
            raise DatasetError(f"{self._source.folder} holds no imaginations; write some with `ksgen-agent export`")
        self._spec = _describe(first, self._source)

    @property
    def spec(self) -> ImaginerSpec:
        """What the imaginations were made with; the first one speaks for all."""
        return self._spec

    def imagine(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Imagination:
        """Find the imagination of a (H, W, 3) uint8 frame and a task.

        Args:
            frame, task: what is asked for.
            seed: which one, where there are several.
            allow_out_of_domain: take the nearest frame where none is equal.

        Raises:
            UnknownTask: the dataset holds no imagination of the task; names some that it holds.
            InvalidFrame: it holds none of this frame.
        """
        picture = check_frame(frame)
        places = self._places.get(_words(task))
        if not places:
            raise UnknownTask(task, tuple((known, 0.0) for known in sorted(self._places)[:3]))
        distances = [_distance(picture, self._frames[place]) for place in places]
        same = [place for place, distance in zip(places, distances, strict=True) if distance <= _SAME]
        if not same and not allow_out_of_domain:
            raise InvalidFrame(
                f"{self._source.folder} holds no imagination of {task!r} from this frame (the nearest differs by "
                f"{min(distances):.1f} of 255); pass allow_out_of_domain=True to take the nearest"
            )
        chosen = same[seed % len(same)] if same else places[int(np.argmin(distances))]
        return imagination_of_episode(self._source[chosen])

    def imagine_stream(
        self, frame: NDArray[np.uint8], task: str, *, seed: int = 0, allow_out_of_domain: bool = False
    ) -> Generator[KeyStep, None, StreamEnd | None]:
        """Yield the key steps of `imagine`."""
        imagination = self.imagine(frame, task, seed=seed, allow_out_of_domain=allow_out_of_domain)
        yield from imagination.steps
        return StreamEnd(imagination.plan, imagination.timings)


def _words(task: str) -> str:
    return " ".join(task.lower().split())


def _distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Mean difference in levels of 255; infinite for pictures of different sizes."""
    if first.shape != second.shape:
        return float("inf")
    return float(np.abs(first.astype(np.int16) - second).mean())


def _describe(imagination: Imagination, source: EpisodeSource) -> ImaginerSpec:
    step = imagination.steps[0]
    return ImaginerSpec(
        preset=str(step.provenance.get("preset", "")),
        description=f"imaginations of the dataset {source.folder.name}",
        fps=step.fps,
        embedding_dimension=len(step.embedding),
        score_names=tuple(name for name in SCORE_NAMES if name in step.scores),
        working_side=max(imagination.frame.shape[:2]),
        provenance=dict(step.provenance),
    )
