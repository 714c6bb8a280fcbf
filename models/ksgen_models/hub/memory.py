"""What a run costs in the device's memory, from sizes alone: an estimate, not a measurement."""

from __future__ import annotations

from collections.abc import Mapping

from ksgen_models.hub.quantisation import QUANTISATIONS, is_quantised
from ksgen_models.hub.settings import RunSettings

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_BLOCKS_ON_DEVICE = 0.05
"""Share of the largest component that sequential and group offload keep on the device: a block or two of about 40."""


def expected_memory_gb(weights: Mapping[str, float], working: float, settings: RunSettings) -> float:
    """Memory of the device that a run takes, in GB.

    Args:
        weights: GB of every component's weights at 16 bits a weight.
        working: GB of activations at the size and length of the run.
        settings: how to run; ``"auto"`` dtype counts as 16 bits.

    Returns:
        Weights that are on the device together, plus ``working``. An estimate from sizes, not a measurement.
    """
    stored = {name: size * _bytes_of(name, settings) / 2.0 for name, size in weights.items()}
    largest = max(stored.values(), default=0.0)
    resident = {
        "none": sum(stored.values()),
        "model": largest,
        "group": 2 * _BLOCKS_ON_DEVICE * largest,
        "sequential": _BLOCKS_ON_DEVICE * largest,
    }
    return resident[settings.offload] + working


def _bytes_of(component: str, settings: RunSettings) -> float:
    if settings.quantisation is not None and is_quantised(component):
        return QUANTISATIONS[settings.quantisation].bytes
    return _BYTES.get(settings.dtype, 2.0)
