"""Plans with their key-step images, out of the clips of whole videos.

Image 0 is the first frame of the first step. Image k is how the scene looks when step k is done: the first frame of
the step after it, and for the last step its last frame.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import DatasetError
from ksgen_models.training.hub.manifest import ClipRef, clip_length, load_clip


@dataclass(frozen=True)
class PlanRef:
    """Steps of one video that follow each other.

    Attributes:
        clips: the first clip of each step.
        last: the last clip of the last step.
    """

    clips: tuple[ClipRef, ...]
    last: ClipRef

    @property
    def steps(self) -> tuple[str, ...]:
        """The sentences."""
        return tuple(clip.sentence for clip in self.clips)

    @property
    def digest(self) -> str:
        """Hash of everything that it is made from."""
        parts = (clip.digest for clip in (*self.clips, self.last))
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def plans_of(references: Sequence[ClipRef], longest: int) -> list[PlanRef]:
    """The plans of all videos, in their order; a video of more steps than ``longest`` makes several.

    Raises:
        DatasetError: no step has a sentence.
    """
    by_step: dict[str, dict[int, list[ClipRef]]] = defaultdict(lambda: defaultdict(list))
    for reference in references:
        if reference.sentence:
            by_step[reference.video][reference.segment].append(reference)
    plans = []
    for steps in by_step.values():
        ordered = [sorted(steps[number], key=lambda clip: clip.start) for number in sorted(steps)]
        for first in range(0, len(ordered), longest):
            some = ordered[first : first + longest]
            plans.append(PlanRef(tuple(clips[0] for clips in some), some[-1][-1]))
    if not plans:
        raise DatasetError(
            "no clip of the manifest has a sentence, and plans are made of them; curate with annotations"
        )
    return plans


def key_step_images(plan: PlanRef, height: int, width: int) -> NDArray[np.uint8]:
    """(S + 1, height, width, 3) uint8."""
    firsts = [load_clip(clip, height, width, 1).frames[0] for clip in plan.clips]
    return np.stack([*firsts, load_clip(plan.last, height, width, clip_length(plan.last)).frames[-1]])
