"""Validation by the project's own metrics: masks against pseudo masks, drawn clips against real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ksgen_models.metrics.hands import region_agreement
from ksgen_models.metrics.measure import Measurer, matched
from ksgen_models.metrics.networks.loading import choose
from ksgen_models.rom import clean_mask
from ksgen_models.training.hub.curves import grid
from ksgen_models.training.hub.manifest import ClipRef, load_clip
from ksgen_models.training.hub.recipe import Validation

_THRESHOLD = 127  # of 255
_LEAST_AREA, _DISC = 0.001, 0.01  # of the picture, and of its shorter side: what is cleaned away (IVG fig. 2e)
CLIP_METRICS = ("hs_err", "rom_miou", "hand_rate", "clip_to_real", "dino_to_real", "motion_distance")
"""What clips are measured by unless the user says otherwise; stand-ins where a network is missing."""


def region_of(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The region of motion (H, W) of a drawn mask clip (T, H, W, 3): masks cleaned, then united (IVG §3.1.1)."""
    height, width = frames.shape[1:3]
    masks = frames[1:].mean(axis=-1) > _THRESHOLD
    least, radius = round(_LEAST_AREA * height * width), round(_DISC * min(height, width))
    return np.any([clean_mask(mask, least, radius) for mask in masks], axis=0)


class RegionValidator:
    """Stage 1: intersection over union of the drawn and the pseudo region of motion."""

    def __init__(self, height: int, width: int, frames: int) -> None:
        """Of the clips' size."""
        self._size = (height, width, frames)

    def measure(self, references: Sequence[ClipRef], drawn: Sequence[NDArray[np.uint8]]) -> Validation:
        """``drawn`` are mask clips (T, H, W, 3), frame 0 the picture."""
        agreements, rows = [], []
        for reference, clip in zip(references, drawn, strict=True):
            real = load_clip(reference, *self._size)
            agreements.append(region_agreement(region_of(clip), real.region))
            true = np.repeat(real.regions[..., None].astype(np.uint8) * 255, 3, axis=-1)
            rows += [np.concatenate([real.frames[:1], true[1:]]), clip]
        return Validation({"rom_iou": _mean(agreements)} if drawn else {}, {"masks": grid(rows)} if rows else {})


class ClipValidator:
    """Stage 2: pair metrics of the drawn and the real clip."""

    def __init__(self, height: int, width: int, frames: int, metrics: tuple[str, ...]) -> None:
        """Of the clips' size, with metrics of `ksgen_models.metrics.catalogue` or none for `CLIP_METRICS`."""
        self._size = (height, width, frames)
        self._metrics = metrics or CLIP_METRICS

    def measure(self, references: Sequence[ClipRef], drawn: Sequence[NDArray[np.uint8]]) -> Validation:
        """``drawn`` are clips (T, H, W, 3)."""
        if not drawn:
            return Validation({})
        real = [load_clip(reference, *self._size).frames for reference in references]
        pairs = list(zip(real, drawn, strict=True))
        texts = [reference.sentence for reference in references]
        figures = measure_pairs(pairs, texts, references[0].fps, self._metrics)
        return Validation(figures, {"clips": grid([clip for pair in pairs for clip in pair])})


def measure_pairs(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    texts: Sequence[str],
    fps: float,
    metrics: tuple[str, ...],
) -> dict[str, float]:
    """Means of pair metrics, those that this machine can measure (or their stand-ins).

    Args:
        pairs: real and drawn clips (T, H, W, 3).
        texts: their sentences.
        fps: frames a second.
        metrics: names in `ksgen_models.metrics.catalogue.METRICS`.
    """
    found: dict[str, list[float]] = {}
    with Measurer(choose(metrics)) as measurer:
        for (real, clip), text in zip(pairs, texts, strict=True):
            drawn, true = matched(clip, real)
            for name, value in measurer.pair(drawn, true, measurer.features(true, fps), fps, text).scalars.items():
                found.setdefault(name, []).append(value)
    return {name: _mean(values) for name, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if np.isfinite(value)]
    return float(np.mean(there)) if there else float("nan")
