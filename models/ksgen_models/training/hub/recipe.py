"""What the trainer asks of a kind of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes:
        figures: by name; those that could not be measured are NaN.
        pictures: (H, W, 3) uint8 grids by name, real above drawn.
    """

    figures: Mapping[str, float]
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Recipe(Protocol):
    """A kind of training, with everything but the loop.

    `losses` and `validate` get the module as accelerate wrapped it, on this process's device.
    """

    @property
    def kind(self) -> str:
        """Name of the kind."""
        ...

    @property
    def module(self) -> nn.Module:
        """What is trained, its frozen parts included."""
        ...

    def __len__(self) -> int:
        """Samples to train on."""
        ...

    def prepare(self, device: torch.device, rank: int, world: int) -> None:
        """Encode this process's share of the samples into the cache; after it only what the loop needs is in memory."""
        ...

    def batch(self, indices: Sequence[int], random: np.random.Generator) -> Batch:
        """Samples on the CPU; may be called from a thread ahead of time."""
        ...

    def losses(self, module: Any, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Named losses of a batch on the device; ``"loss"`` is minimised, the others are drawn as curves."""
        ...

    def validate(self, module: Any, samples: int) -> Validation:
        """Measure on what was held out, with the same noise each time, drawing ``samples`` of it."""
        ...

    def save(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write the trained model with ``state`` as the weights of `module`, by name."""
        ...

    def fixed(self) -> Mapping[str, Any]:
        """What a resumed run must find the same, beside the settings: hashes of data and weights."""
        ...
