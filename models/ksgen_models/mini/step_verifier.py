"""Sees how far the work has come, with the progress network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ksgen_models.mini.layers import picture_tensor
from ksgen_models.mini.networks import Networks
from ksgen_models.progress import StepVerdict, weighed_in_order


@dataclass(frozen=True)
class Answers:
    """Probabilities in [0, 1] of what N sentences say, as in `ksgen_models.mini.progress.Progress`."""

    done: NDArray[np.float32]
    seen: NDArray[np.float32]
    smaller: NDArray[np.float32]


@dataclass(frozen=True)
class MiniStepVerifier:
    """Satisfies `ksgen_models.interfaces.StepVerifier`.

    Attributes:
        networks: the models.
    """

    networks: Networks

    def verify(self, frame: NDArray[np.uint8], steps: tuple[str, ...]) -> tuple[StepVerdict, ...]:
        """See `ksgen_models.interfaces.StepVerifier`."""
        said = self.ask(frame, steps, together=True)
        likely = weighed_in_order(said.done.tolist())
        return tuple(
            StepVerdict.of(step, done, float(seen)) for step, done, seen in zip(steps, likely, said.seen, strict=True)
        )

    @torch.inference_mode()
    def ask(self, frame: NDArray[np.uint8], sentences: Sequence[str], *, together: bool) -> Answers:
        """What the network says of sentences about a frame (H, W, 3) uint8; ``together``: they are one procedure's."""
        if not sentences:
            nothing = np.empty(0, np.float32)
            return Answers(nothing, nothing, nothing)
        networks, number = self.networks, len(sentences)
        states, mask = (torch.from_numpy(array)[None] for array in networks.text.tokens(sentences))
        picture = picture_tensor(torch.from_numpy(networks.square(frame).to_square(frame)))
        group = torch.ones(number, number, dtype=torch.bool) if together else torch.eye(number, dtype=torch.bool)
        said = networks.progress(picture[None], states, mask, group[None])
        return Answers(*(answer[0].sigmoid().numpy() for answer in (said.done, said.seen, said.smaller)))
