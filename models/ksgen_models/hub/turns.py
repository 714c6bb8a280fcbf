"""The pipelines of one preset take turns in the device's memory: key-step images first, clips after them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.hub.quantisation import QUANTISATIONS
from ksgen_models.hub.settings import RunSettings, resolve_device
from ksgen_models.interfaces import (
    CheckCancelled,
    KeyStepImageGenerator,
    RegionPrediction,
    StepRequest,
    VideoGenerator,
    never_cancelled,
)


@dataclass
class TurnTaker:
    """Brings the pipeline whose turn it is onto the device and sends the one before it to the machine's memory.

    Pipelines with an offload bring their components by themselves, quantised networks stay where they were made, and on
    the CPU there is nowhere to go: for these a turn changes nothing. One thread at a time.

    Attributes:
        settings: of all the pipelines.
        resident: the pipeline that is on the device, or None.
    """

    settings: RunSettings
    resident: Any = None
    _moves: bool = field(init=False)

    def __post_init__(self) -> None:
        """Find out whether there is anything to move."""
        quantised = self.settings.quantisation
        fixed = quantised is not None and not QUANTISATIONS[quantised].moves
        placed_for_good = self.settings.offload != "none" or fixed
        self._moves = not placed_for_good and resolve_device(self.settings) != "cpu"

    def rest(self, pipeline: Any) -> None:
        """Send a pipeline that was just loaded to the machine's memory."""
        if self._moves:
            pipeline.to("cpu")
            _free_cache()

    @contextmanager
    def turn(self, pipeline: Any) -> Iterator[None]:
        """Have the pipeline on the device meanwhile; it stays until another one's turn."""
        if self._moves and self.resident is not pipeline:
            if self.resident is not None:
                self.rest(self.resident)
            self.resident = None
            pipeline.to(resolve_device(self.settings))
            self.resident = pipeline
        yield


@dataclass(frozen=True)
class InTurnImages:
    """A key-step image generator that draws in its turn.

    Attributes:
        inner: draws.
        pipeline: of ``inner``.
        turns: shared with the video model.
    """

    inner: KeyStepImageGenerator
    pipeline: Any
    turns: TurnTaker

    def draw(
        self,
        frame: NDArray[np.uint8],
        steps: tuple[str, ...],
        *,
        seed: int,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.KeyStepImageGenerator`."""
        with self.turns.turn(self.pipeline):
            return self.inner.draw(frame, steps, seed=seed, check_cancelled=check_cancelled)


@dataclass(frozen=True)
class InTurnVideo:
    """A video generator that draws in its turn.

    Attributes:
        inner: draws.
        pipeline: of ``inner``.
        turns: shared with the key-step image generator.
    """

    inner: VideoGenerator
    pipeline: Any
    turns: TurnTaker

    @property
    def fps(self) -> float:
        """Frames a second of the clips."""
        return self.inner.fps

    def generate(
        self,
        request: StepRequest,
        region: RegionPrediction,
        *,
        check_cancelled: CheckCancelled = never_cancelled,
    ) -> NDArray[np.uint8]:
        """See `ksgen_models.interfaces.VideoGenerator`."""
        with self.turns.turn(self.pipeline):
            return self.inner.generate(request, region, check_cancelled=check_cancelled)


def _free_cache() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
