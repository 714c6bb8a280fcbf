"""A key step while its clips are drawn: of several candidates one is kept, and the caller is promised it beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import LowConfidence
from ksgen_models.interfaces import StepRequest
from ksgen_models.scores import trust
from ksgen_models.types import KeyStep


@dataclass(frozen=True, eq=False)
class Draft:
    """One key step, asked for and not yet settled.

    Attributes:
        request: of its first candidate.
        embedding: (D,) float32, of its sentence.
        provenance: what is the same for every candidate.
        clips: the candidates so far, each with its hands and scores.
        promise: the candidate that is kept.
    """

    request: StepRequest
    embedding: NDArray[np.float32]
    provenance: Mapping[str, Any]
    clips: list[Future[KeyStep]] = field(default_factory=list)
    promise: Future[KeyStep] = field(default_factory=Future)

    def settle(self, doubt: float, least: float) -> bool:
        """Keep the promise with the best candidate, unless that is trusted less than ``doubt``.

        Called when every candidate is there; an error of one of them is what was promised.

        Args:
            doubt: 0 to take the best in any case.
            least: an error where even the best is trusted less.

        Returns:
            Whether nothing more is to be drawn.
        """
        if self.promise.done():
            return True
        try:
            best = most_trusted([clip.result() for clip in self.clips])
            if trust(best.scores) < doubt:
                return False
            check_trust(best, len(self.clips), least)
        except Exception as exc:
            self.promise.set_exception(exc)
        else:
            self.promise.set_result(best)
        return True


def most_trusted(candidates: Sequence[KeyStep]) -> KeyStep:
    """The candidate whose scores are to be trusted most; the first of equals."""
    return max(candidates, key=lambda step: trust(step.scores))


def check_trust(best: KeyStep, candidates: int, least: float) -> None:
    """Check that the best of so many candidates of a key step is good enough.

    Raises:
        LowConfidence: it is trusted less than ``least``.
    """
    trusted = trust(best.scores)
    if trusted < least:
        raise LowConfidence(
            f"key step {best.index + 1} ({best.description!r}) came out with a trust of {trusted:.2f} in the best of "
            f"{candidates} clips, and {least:.2f} was asked for; ask for more candidates, or for less trust",
            score=trusted,
            threshold=least,
        )
