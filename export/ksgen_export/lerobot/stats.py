"""The statistics that LeRobot keeps of every feature: least, greatest, mean, deviation and five quantiles.

They are LeRobot's own (`lerobot.datasets.compute_stats`, 0.4.4): quantiles of an episode are values of the sample,
those of a dataset are the mean of its episodes' weighted by their frames; pictures are looked at in at least 100
frames of an episode and reduced where they are large. Two things differ. An episode's quantile is exact here, there it
is read from a histogram of 5,000 bins. And the deviation of pictures is right here: squaring bytes overflows there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stats = dict[str, NDArray[Any]]
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_LARGE, _REDUCED = 300, 150  # pixels


def column_stats(values: NDArray[Any]) -> Stats:
    """Statistics of one episode's column (T,) or (T, N); each is (1,) or (N,)."""
    table = np.asarray(values, np.float64).reshape(len(values), -1)
    found: Stats = {
        "min": table.min(axis=0),
        "max": table.max(axis=0),
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
        "count": np.array([len(table)]),
    }
    exact = np.quantile(table, list(QUANTILES.values()), axis=0, method="inverted_cdf")
    # A single frame has no quantiles; LeRobot gives its mean.
    return found | {
        name: (row if len(table) > 1 else found["mean"]) for name, row in zip(QUANTILES, exact, strict=True)
    }


def picture_stats(frames: NDArray[np.uint8]) -> Stats:
    """Statistics of one episode's frames (T, H, W, 3) in [0, 1] by channel; each is (3, 1, 1)."""
    sampled = _reduce(frames[sample_places(len(frames))])
    levels = np.arange(256) / 255
    columns: list[list[float]] = []
    for channel in range(3):
        counts = np.bincount(sampled[..., channel].ravel(), minlength=256)
        total, seen = counts.sum(), np.flatnonzero(counts)
        mean = float(counts @ levels / total)
        deviation = float(np.sqrt(counts @ (levels - mean) ** 2 / total))
        reached = np.cumsum(counts)
        quantiles = [float(levels[np.searchsorted(reached, share * total)]) for share in QUANTILES.values()]
        columns.append([float(levels[seen[0]]), float(levels[seen[-1]]), mean, deviation, *quantiles])
    names = ("min", "max", "mean", "std", *QUANTILES)
    table = np.array(columns).T.reshape(len(names), 3, 1, 1)
    return dict(zip(names, table, strict=True)) | {"count": np.array([len(sampled)])}


def sample_places(length: int) -> NDArray[np.int64]:
    """Which frames of an episode are looked at: all up to 100, then fewer and fewer of them."""
    number = max(min(length, 100), min(int(length**0.75), 10_000))
    return np.round(np.linspace(0, length - 1, number)).astype(np.int64)


def merge_stats(parts: Sequence[Stats]) -> Stats:
    """Statistics of all episodes from those of each."""
    counts = np.stack([part["count"] for part in parts]).astype(np.float64)
    shape = (len(parts), *(1,) * parts[0]["mean"].ndim)
    weights = counts.reshape(shape) / counts.sum()
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    mean = (stacked["mean"] * weights).sum(axis=0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weights).sum(axis=0)
    merged: Stats = {
        "min": stacked["min"].min(axis=0),
        "max": stacked["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": stacked["count"].sum(axis=0),
    }
    return merged | {name: (stacked[name] * weights).sum(axis=0) for name in QUANTILES}


def plain(stats: Stats) -> dict[str, Any]:
    """As nested lists, for JSON."""
    return {name: array.tolist() for name, array in stats.items()}


def arrays(stats: dict[str, Any]) -> Stats:
    """The inverse of `plain`."""
    return {name: np.asarray(values) for name, values in stats.items()}


def _reduce(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    if max(height, width) < _LARGE:
        return frames
    step = int((width if width > height else height) / _REDUCED)
    return frames[:, ::step, ::step]
