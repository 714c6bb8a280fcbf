"""Fréchet distances of stored features: few clips and many, whole sets and resampled ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ksgen_models.metrics.evaluation import Measured, MeasuredRow
from ksgen_models.metrics.frechet import Moments, frechet_distance
from ksgen_models.metrics.store import Store
from ksgen_models.metrics.summary import set_figure

DIMENSION, FRAMES = 24, 3


def stored(folder: Path, clips: int) -> tuple[MeasuredRow, list[Measured], list[np.ndarray]]:
    """A row of so many clips, and the features of its generated and its real frames."""
    rng = np.random.default_rng(clips)
    stores = Store(folder / "generated"), Store(folder / "real")
    features = [rng.normal(at, 1 + at, (clips, FRAMES, DIMENSION)).astype(np.float32) for at in (0.0, 0.5)]
    for store, of_clips in zip(stores, features, strict=True):
        for index, rows in enumerate(of_clips):
            store.save(str(index), "mark", {}, {"inception": rows})
    pairs = [Measured(str(index), "", "", 0.0, {}, str(index)) for index in range(clips)]
    row: Any = SimpleNamespace(name="row")
    return MeasuredRow(row, tuple(pairs), 0, *stores), pairs, [rows.reshape(-1, DIMENSION) for rows in features]


@pytest.mark.parametrize("clips", [2, 3, 8, 400])  # fewer frames than dimensions, and more than are added at once
def test_the_distance_is_that_of_all_frames(tmp_path: Path, clips: int) -> None:
    row, pairs, features = stored(tmp_path, clips)
    whole = [Moments(DIMENSION), Moments(DIMENSION)]
    for moments, rows in zip(whole, features, strict=True):
        moments.update(rows)
    figure = set_figure("fid", row, pairs, 0, 0)
    assert figure.value == pytest.approx(frechet_distance(*whole), rel=1e-6)
    assert figure.clips == clips


@pytest.mark.parametrize("clips", [3, 40])
def test_the_interval_is_that_of_resampled_clips(tmp_path: Path, clips: int) -> None:
    row, pairs, (generated, real) = stored(tmp_path, clips)
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(5):
        chosen = rng.integers(clips, size=clips)
        moments = [Moments(DIMENSION), Moments(DIMENSION)]
        for one, rows in zip(moments, (generated, real), strict=True):
            one.update(rows.reshape(clips, FRAMES, DIMENSION)[chosen].reshape(-1, DIMENSION))
        drawn.append(frechet_distance(*moments))
    figure = set_figure("fid", row, pairs, 5, 7)
    assert figure.high - figure.value == pytest.approx(1.959963984540054 * np.std(drawn, ddof=1), rel=1e-6)
    assert figure.low >= 0


def test_one_clip_has_a_distance_without_an_interval_and_no_clip_has_none(tmp_path: Path) -> None:
    row, pairs, _ = stored(tmp_path, 1)
    figure = set_figure("fid", row, pairs, 5, 0)
    assert figure.value > 0
    assert np.isnan([figure.low, figure.high]).all()
    assert np.isnan(set_figure("fid", row, [], 5, 0).value)
