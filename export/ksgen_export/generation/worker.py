"""What a generation job's workers do: an item becomes an outcome, put in place before the job hears of it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ksgen_agent import Imaginer
from ksgen_export.conversion import model_hash
from ksgen_export.disk import whole_file, writing
from ksgen_export.generation.items import Item
from ksgen_export.generation.limits import least_scores, shortfalls
from ksgen_export.generation.making import REFUSALS, Made, Maker, open_maker
from ksgen_export.generation.options import GenerationOptions
from ksgen_export.generation.parts import FAILED, REJECTED, WRITTEN, Outcome, put_outcome, read_outcome
from ksgen_models.errors import DatasetError

IMAGINER = "imaginer.json"


@dataclass(frozen=True)
class GenerationWork:
    """A `ksgen_export.jobs.Work`.

    Attributes:
        folder: the job's.
        options: of the job.
    """

    folder: Path
    options: GenerationOptions

    @contextmanager
    def __call__(self) -> Iterator[Callable[[Item], Outcome]]:
        """Load the models.

        Raises:
            KSGenError: they cannot be loaded, or are others than those that the job was begun with.
        """
        # Rendering without a screen; a user's own choice wins.
        if sys.platform == "linux" and not os.environ.get("DISPLAY"):
            os.environ.setdefault("MUJOCO_GL", "egl")
        with open_maker(self.options) as (maker, imaginer):
            if imaginer is not None:
                _agree(self.folder, imaginer)
            yield lambda item: self._outcome(item, maker)

    def _outcome(self, item: Item, maker: Maker) -> Outcome:
        if (there := read_outcome(self.folder, item)) is not None:
            return there  # a worker was killed between finishing it and saying so
        began = time.perf_counter()
        try:
            try:
                made = maker(item)
            except REFUSALS as exc:
                made, reasons = Made(None), (f"{type(exc).__name__}: {exc}",)
            else:
                reasons = self._reasons(made)
            scores = least_scores(made.episode) if made.episode else {}
            outcome = Outcome(REJECTED if reasons else WRITTEN, reasons, scores=scores)
            outcome = replace(outcome, seconds=time.perf_counter() - began)
            episode = None if reasons else made.episode
            return put_outcome(self.folder, item, outcome, episode, self.options.format)
        except Exception as exc:
            where = traceback.extract_tb(exc.__traceback__)[-1]
            reason = f"{type(exc).__name__}: {exc} ({Path(where.filename).name}:{where.lineno})"
            return Outcome(FAILED, (reason,), seconds=time.perf_counter() - began)

    def _reasons(self, made: Made) -> tuple[str, ...]:
        """Why an episode is not kept."""
        if made.episode is None:
            return (made.problem,)
        if self.options.format == "minari" and len(made.episode) < 2:
            return ("it has one frame; Minari's episodes need two or more",)
        problem = () if self.options.keep_failures or not made.problem else (made.problem,)
        return (*problem, *shortfalls(made.episode, self.options.least_scores))


def _agree(folder: Path, imaginer: Imaginer) -> None:
    """See to it that a job's episodes come of one imaginer, though its runs are weeks apart."""
    spec = imaginer.spec
    mine: dict[str, Any] = {"preset": spec.preset, "models": model_hash(spec.provenance.get("models"))}
    path = folder / IMAGINER
    with writing(folder):
        if not path.exists():
            with whole_file(path) as partial:
                partial.write_text(json.dumps(mine), "utf-8")
            return
        try:
            begun = json.loads(path.read_text("utf-8"))
        except ValueError:
            begun = None
    if begun != mine:
        raise DatasetError(
            f"{folder} was begun with another imaginer ({begun} there, {mine} here); choose another folder, or go on "
            "with those models"
        )
