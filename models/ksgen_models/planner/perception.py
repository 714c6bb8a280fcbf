"""What the planner wants to know of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SceneReading:
    """What a frame shows, as probabilities.

    Attributes:
        scene: Workbench task (``"AssembleShelf"``, ``"StackBlocks"``, …) → probability that the frame shows its
            scene; they sum to at most 1.
        objects: object name → probability that it is in the frame. Names are ``"<colour> <kind>"`` ("red block",
            "red bin", "red hole", "red peg"), "left upright", "right upright", "lower board", "upper board", "drawer",
            "knob", "button". A name that is left out is one the reader cannot judge. The order is the order in
            which a plan for all of them takes them.
        sizes: object name → relative size, for a stack that begins with the largest; may be empty.
        on: (upper, lower) object names → probability that the one stands on the other; may be empty.
    """

    scene: Mapping[str, float]
    objects: Mapping[str, float]
    sizes: Mapping[str, float] = field(default_factory=dict)
    on: Mapping[tuple[str, str], float] = field(default_factory=dict)


class SceneReader(Protocol):
    """Reads a frame."""

    def read(self, frame: NDArray[np.uint8]) -> SceneReading:
        """Read a (H, W, 3) uint8 frame."""
        ...
