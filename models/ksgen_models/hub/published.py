"""What is known of weights before they are here: where they are published, how large they are, in which files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_DESCRIPTIONS = ("model_index.json", "*/*.json", "*/*.txt", "*/*.model")


def pipeline_files(variant: str | None = None) -> tuple[str, ...]:
    """Patterns of the files that a pipeline loads: many repositories hold other editions of the same weights beside it.

    Args:
        variant: e.g. ``"fp16"``: only the weight files that are named so.
    """
    return (*_DESCRIPTIONS, f"*/*.{variant}*.safetensors" if variant else "*/*.safetensors")


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights of one pipeline on the hub.

    Attributes:
        name: of the model and of its preset.
        pipeline: class in diffusers.
        repository, revision: on the hub.
        licence: of the weights.
        billions: parameters of every component, in billions; a test counts them on the networks themselves.
        working: GB of activations at the model's own size and length in 16 bits, an estimate.
        variant: the repository's 16-bit edition, ``"fp16"``, where it has one under such names; only that is fetched.
        stored_float32: components whose files hold 32 bits a weight; the others' hold 16.
    """

    name: str
    pipeline: str
    repository: str
    licence: str
    billions: Mapping[str, float]
    working: float
    revision: str = "main"
    variant: str | None = None
    stored_float32: Collection[str] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of the repository's files that are needed."""
        return pipeline_files(self.variant)

    def weights_gb(self) -> dict[str, float]:
        """GB of every component at 16 bits a weight."""
        return {name: 2.0 * billions for name, billions in self.billions.items()}

    def download_gb(self) -> dict[str, float]:
        """GB of every component's files as they are published."""
        return {name: gb * (2 if name in self.stored_float32 else 1) for name, gb in self.weights_gb().items()}
