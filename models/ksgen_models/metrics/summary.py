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
from ksgen_models.metrics.store import Store

ALL, MOTION_INTENSIVE = "all", "motion-intensive"
_RETRIEVAL = "text_by_retrieval"
_NORMAL_95 = 1.959963984540054
_ROWS = 512  # of features that are added to a covariance at once
_COVARIANCES = 2**27  # bytes of covariances that are kept at once on either side
_Places = list[tuple[Store, str]]


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
    number = len(pairs)
    if not number:
        return Figure(nothing, nothing, nothing, 0)
    generated: _Places = [(row.generated, pair.key) for pair in pairs]
    real: _Places = [(row.real, pair.real) for pair in pairs]
    basis = _basis(metric, [*generated, *real])

    def distances(counts: NDArray[np.integer]) -> list[float]:
        both = zip(*(_moments(metric, places, counts, basis) for places in (generated, real)), strict=True)
        return [frechet_distance(one, other) if min(one.count, other.count) > 1 else nothing for one, other in both]

    (value,) = distances(np.ones((1, number), int))
    if not times or np.isnan(value) or number < 3:
        return Figure(value, nothing, nothing, number)
    rng = np.random.default_rng(seed)
    counts = np.stack([np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(times)])
    dimension = (_features(metric, *generated[0]) if basis is None else basis).shape[1]
    at_once = max(1, _COVARIANCES // (8 * dimension**2))
    drawn = [value for first in range(0, times, at_once) for value in distances(counts[first : first + at_once])]
    spread = _NORMAL_95 * float(np.nanstd(drawn, ddof=1))
    return Figure(value, max(0.0, value - spread), value + spread, number)


def _features(metric: str, store: Store, key: str) -> NDArray[np.float64]:
    name = SET_FEATURES[metric]
    return store.arrays(key, [name])[name].astype(np.float64)


def _basis(metric: str, places: _Places) -> NDArray[np.float64] | None:
    """(D, N) orthonormal columns that span all N features, or None where these are not fewer than their dimensions D.

    Distances are the same within it, and a few clips cost a few clips' time.
    """
    gathered: list[NDArray[np.float64]] = []
    rows = 0
    for place in places:
        gathered.append(_features(metric, *place))
        rows += len(gathered[-1])
        if rows >= gathered[-1].shape[1]:
            return None
    return np.linalg.qr(np.concatenate(gathered).T)[0] if gathered else None


def _moments(
    metric: str, places: _Places, counts: NDArray[np.integer], basis: NDArray[np.float64] | None
) -> list[Moments]:
    """Moments of the features at ``places`` for each row of ``counts`` (R, N), which says how often each is taken.

    They are in the coordinates of ``basis`` if there is one. Every file is read once. Features are gathered before they
    are added: an update passes over the whole covariance, however few rows it brings.
    """
    made: list[Moments] = []
    gathered: list[NDArray[np.float64]] = []
    owners: list[int] = []  # of each gathered row, its place

    def add() -> None:
        rows = np.concatenate(gathered)
        for moments, count in zip(made, counts[:, owners], strict=True):
            moments.update(np.repeat(rows, count, axis=0))
        gathered.clear()
        owners.clear()

    for index, place in enumerate(places):
        features = _features(metric, *place)
        gathered.append(features if basis is None else features @ basis)
        owners += [index] * len(features)
        made = made or [Moments(gathered[0].shape[1]) for _ in counts]
        if len(owners) >= _ROWS:
            add()
    if owners:
        add()
    return made


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
