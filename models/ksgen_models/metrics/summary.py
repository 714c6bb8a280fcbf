"""From measured pairs to a table: means and Fréchet distances by split, with bootstrap confidence intervals.

The splits are all clips, the motion-intensive ones (the tenth of the clips whose real region of motion is largest, as
in IVG Table 1), and each task. Intervals hold 95 %. Of a mean it is the percentile bootstrap over clips. Of a Fréchet
distance it is the distance ± 1.96 standard deviations of the distances of resampled sets: resampling repeats clips,
which thins the covariance and moves the distance itself, so the percentiles would be off while the spread is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ksgen_models.metrics.catalogue import METRICS, SET
from ksgen_models.metrics.evaluation import Measured, MeasuredRow
from ksgen_models.metrics.frechet import Moments, frechet_distance
from ksgen_models.metrics.measure import SET_FEATURES, Measurer

ALL, MOTION_INTENSIVE = "all", "motion-intensive"
_RETRIEVAL = "text_by_retrieval"
_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Figure:
    """One metric of one split.

    Attributes:
        value: the mean or distance; NaN where there was nothing to measure.
        low, high: 95 % interval; NaN where it was not made.
        clips: number of clips that it rests on.
    """

    value: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class RowSummary:
    """One row of the table.

    Attributes:
        name, kind: of the row.
        clips: pairs measured.
        absent: real clips that the row has no clip for.
        failed: key → why it could not be measured.
        splits: split → metric → figure.
    """

    name: str
    kind: str
    clips: int
    absent: int
    failed: dict[str, str]
    splits: dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        means: resamplings of a mean; 0 for no intervals.
        sets: resamplings of a Fréchet distance; 0 for no intervals. Each costs a pass over the features.
        seed: of the resampling.
    """

    means: int = 1000
    sets: int = 20
    seed: int = 0


def summarise(row: MeasuredRow, measurer: Measurer, resampling: Resampling | None = None) -> RowSummary:
    """Make a row of the table.

    Args:
        row: its pairs and stores.
        measurer: says which metrics there are; embeds sentences.
        resampling: how intervals are made.
    """
    resampling = resampling or Resampling()
    done = [pair for pair in row.pairs if not pair.error]
    metrics = measurer.choice.metrics
    scalars = {pair.key: dict(pair.scalars) for pair in done}
    if _RETRIEVAL in metrics:
        for key, value in _text_by_retrieval(row, done, measurer).items():
            scalars[key][_RETRIEVAL] = value
    splits = {
        name: {metric: _figure(metric, row, pairs, scalars, resampling, name) for metric in metrics}
        for name, pairs in split(done).items()
    }
    failed = {pair.key: pair.error for pair in row.pairs if pair.error}
    return RowSummary(row.row.name, row.row.kind, len(done), row.absent, failed, splits)


def split(pairs: Sequence[Measured]) -> dict[str, list[Measured]]:
    """All, motion-intensive and per-task pairs; a split without a pair is left out."""
    splits = {ALL: list(pairs)} if pairs else {}
    moving = [pair for pair in pairs if pair.area > 0]
    if moving:
        number = int(np.ceil(0.1 * len(pairs)))
        largest = {pair.key for pair in sorted(moving, key=lambda pair: (-pair.area, pair.key))[:number]}
        splits[MOTION_INTENSIVE] = [pair for pair in pairs if pair.key in largest]
    for task in sorted({pair.task for pair in pairs} - {""}):
        splits[task] = [pair for pair in pairs if pair.task == task]
    return splits


def _figure(
    metric: str,
    row: MeasuredRow,
    pairs: list[Measured],
    scalars: dict[str, dict[str, float]],
    resampling: Resampling,
    name: str,
) -> Figure:
    if METRICS[metric].kind == SET:
        # A task's distance rests on few clips; its spread would cost a pass over the features for each resampling.
        times = resampling.sets if name in (ALL, MOTION_INTENSIVE) else 0
        return set_figure(metric, row, pairs, times, resampling.seed)
    values = np.array([scalars[pair.key].get(metric, np.nan) for pair in pairs])
    return mean_figure(values, resampling.means, resampling.seed)


def mean_figure(values: NDArray[np.floating], times: int = 1000, seed: int = 0) -> Figure:
    """Mean of the values that are not NaN, with its percentile bootstrap interval over ``times`` resamplings."""
    measured = np.asarray(values, np.float64)
    measured = measured[np.isfinite(measured)]
    nothing = float("nan")
    if not len(measured):
        return Figure(nothing, nothing, nothing, 0)
    mean = float(measured.mean())
    if not times or len(measured) < 2:
        return Figure(mean, nothing, nothing, len(measured))
    rng = np.random.default_rng(seed)
    means = [measured[rng.integers(len(measured), size=len(measured))].mean() for _ in range(times)]
    low, high = np.percentile(means, (2.5, 97.5))
    return Figure(mean, float(low), float(high), len(measured))


def set_figure(metric: str, row: MeasuredRow, pairs: list[Measured], times: int, seed: int) -> Figure:
    """Fréchet distance of a set of pairs, with its interval from ``times`` resamplings of the pairs."""
    nothing = float("nan")
    counts = np.ones(len(pairs), int)
    value = _distance(metric, row, pairs, counts)
    if not times or np.isnan(value) or len(pairs) < 3:
        return Figure(value, nothing, nothing, len(pairs))
    rng = np.random.default_rng(seed)
    drawn = [
        _distance(metric, row, pairs, np.bincount(rng.integers(len(pairs), size=len(pairs)), minlength=len(pairs)))
        for _ in range(times)
    ]
    spread = _NORMAL_95 * float(np.nanstd(drawn, ddof=1))
    return Figure(value, max(0.0, value - spread), value + spread, len(pairs))


def _distance(metric: str, row: MeasuredRow, pairs: list[Measured], counts: NDArray[np.integer]) -> float:
    generated = _moments(metric, [(row.generated, pair.key) for pair in pairs], counts)
    real = _moments(metric, [(row.real, pair.real) for pair in pairs], counts)
    if generated is None or real is None or min(generated.count, real.count) < 2:
        return float("nan")
    return frechet_distance(generated, real)


def _moments(metric: str, places: list[tuple], counts: NDArray[np.integer]) -> Moments | None:
    moments = None
    for (store, key), count in zip(places, counts, strict=True):
        if count:
            features = store.arrays(key, [SET_FEATURES[metric]])[SET_FEATURES[metric]]
            moments = moments or Moments(features.shape[1])
            moments.update(features, int(count))
    return moments


def _text_by_retrieval(row: MeasuredRow, pairs: list[Measured], measurer: Measurer) -> dict[str, float]:
    """Of each generated clip the MiniLM cosine of its sentence to that of the other real clip most like it."""
    told = [pair for pair in pairs if pair.text]
    if len(told) < 2:
        return {}
    texts = sorted({pair.text for pair in told})
    embedded = dict(zip(texts, measurer.network("minilm").embed(tuple(texts)), strict=True))
    name = SET_FEATURES[_RETRIEVAL]
    known = np.concatenate([_unit(row.real.arrays(pair.real, [name])[name]) for pair in told])  # (N, D)
    scores = {}
    for index, pair in enumerate(told):
        likeness = known @ _unit(row.generated.arrays(pair.key, [name])[name])[0]
        likeness[index] = -np.inf
        scores[pair.key] = float(embedded[pair.text] @ embedded[told[int(likeness.argmax())].text])
    return scores


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
