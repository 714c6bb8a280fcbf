"""`Imagination`: what came out of imagining one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.subgoal import Subgoal
from ksgen_models.types import KeyStep, Plan

if TYPE_CHECKING:
    from ksgen_agent.report.page import ReportFilm


@dataclass(frozen=True, eq=False)
class Imagination:
    """A task imagined at key-step level.

    Attributes:
        task: what was asked, normalised.
        frame: (H, W, 3) uint8, the camera's picture at the working size.
        plan: the key steps in words, with their evidence.
        steps: one `KeyStep` for each of the plan's sentences, in order.
        timings: seconds by stage, see `ksgen_agent.run.Run`; `step_timings` picks out one step's.
    """

    task: str
    frame: NDArray[np.uint8]
    plan: Plan
    steps: tuple[KeyStep, ...]
    timings: Mapping[str, float]

    def step_timings(self, index: int) -> dict[str, float]:
        """Seconds by stage of key step ``index``: ``region``, ``clip``, ``hands``, ``scores``."""
        prefix = f"steps/{index}/"
        return {name.removeprefix(prefix): value for name, value in self.timings.items() if name.startswith(prefix)}

    def subgoals(self) -> tuple[Subgoal, ...]:
        """One subgoal for each key step: what a policy takes."""
        return tuple(Subgoal.from_key_step(step, total=len(self.steps)) for step in self.steps)

    def save(self, folder: str | Path) -> Path:
        """Write everything, without loss, to a folder; see `ksgen_agent.storage` for its form.

        The folder appears whole or not at all; an imagination that is already there is replaced.

        Returns:
            The folder.

        Raises:
            DatasetError: something else is at that path, it cannot be written, or a record is not plain data.
        """
        from ksgen_agent.storage import save_imagination

        return save_imagination(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Imagination:
        """Read what `save` wrote.

        Raises:
            DatasetError: the folder is missing, damaged, incomplete or of another format version.
        """
        from ksgen_agent.storage import load_imagination

        return load_imagination(folder)

    def report(self, path: str | Path, *, film: ReportFilm | None = None) -> Path:
        """Write one self-contained HTML page that shows everything.

        Args:
            path: of the page.
            film: of what was done with the imagination, shown after the plan.

        Returns:
            The file.
        """
        from ksgen_agent.report.page import write_report

        return write_report(self, path, film=film)
