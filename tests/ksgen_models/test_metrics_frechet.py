"""The Fréchet distance against other implementations, closed forms, and itself in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from ksgen_models.errors import InvalidInput
from ksgen_models.metrics.frechet import Moments, frechet_distance


def moments(features: np.ndarray) -> Moments:
    made = Moments(features.shape[1])
    made.update(features)
    return made


def by_matrix_root(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as pytorch-fid and its kin compute it: SciPy's root of the product of the covariances."""
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    difference = first.mean(0) - second.mean(0)
    root = linalg.sqrtm(one @ other)
    return float(difference @ difference + np.trace(one) + np.trace(other) - 2 * np.trace(np.real(root)))


def made_features(seed: int, count: int, dimension: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dimension)) @ rng.normal(size=(dimension, dimension)) + rng.normal(size=dimension)


# What pytorch-fid 0.3.0 (FID), torch-fidelity 0.4.0 (FID) and cd-fvd 0.1.1 (FVD) make of `made_features(0, n, d)` and
# `made_features(1, n + 50, d)`, by (d, n).
PUBLIC = {
    (16, 50): {
        "pytorch-fid": 180.2750288096667,
        "torch-fidelity": 180.27502880966705,
        "cd-fvd": 180.27502880966708,
    },
    (64, 300): {
        "pytorch-fid": 2355.2008782577923,
        "torch-fidelity": 2355.2008782577986,
        "cd-fvd": 2355.2008782577745,
    },
    (400, 900): {
        "pytorch-fid": 99087.11444936582,
        "torch-fidelity": 99087.11444936605,
        "cd-fvd": 99087.11444930985,
    },
}


@pytest.mark.parametrize(("size", "public"), PUBLIC.items(), ids=str)
def test_it_agrees_with_public_implementations(size: tuple[int, int], public: dict[str, float]) -> None:
    dimension, count = size
    ours = frechet_distance(
        moments(made_features(0, count, dimension)), moments(made_features(1, count + 50, dimension))
    )
    for value in public.values():
        assert ours == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("dimension", [2, 16, 64])
def test_it_agrees_with_scipys_matrix_root(dimension: int) -> None:
    first, second = made_features(0, 4 * dimension, dimension), made_features(1, 5 * dimension, dimension)
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(by_matrix_root(first, second), rel=1e-8)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 1000), st.floats(0, 1e4))
@settings(max_examples=50)
def test_a_stream_gives_the_moments_of_the_whole(sizes: list[int], seed: int, offset: float) -> None:
    features = np.random.default_rng(seed).normal(size=(sum(sizes) + 1, 5)) + offset
    streamed = Moments(5)
    for part in np.split(features, np.cumsum(sizes)):
        streamed.update(part)
    assert streamed.count == len(features)
    np.testing.assert_allclose(streamed.mean, features.mean(0), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(streamed.covariance, np.cov(features, rowvar=False), rtol=1e-7, atol=1e-7)


def test_a_weight_is_so_many_times_the_same() -> None:
    first, second = made_features(0, 6, 3), made_features(1, 7, 3)
    weighted = Moments(3)
    weighted.update(first, 3)
    weighted.update(second, 1)
    weighted.update(second, 0)
    repeated = moments(np.concatenate([first, first, first, second]))
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-12)


def test_closed_forms() -> None:
    features = made_features(3, 50, 6)
    assert frechet_distance(moments(features), moments(features)) == pytest.approx(0, abs=1e-9)
    shift = np.arange(6.0)
    assert frechet_distance(moments(features), moments(features + shift)) == pytest.approx(shift @ shift, rel=1e-9)
    # One dimension: (μ₁ − μ₂)² + (σ₁ − σ₂)². Here μ 1 and 5, σ² 2 and 8: 16 + 2.
    first, second = np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]])
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(18.0)


def test_fewer_vectors_than_dimensions_are_exact() -> None:
    first, second = made_features(0, 5, 40), made_features(1, 7, 40)
    one, other = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second))
    nuclear = np.linalg.svd(one @ other.T, compute_uv=False).sum()  # tr (AᵀA BᵀB)^½ = ‖A Bᵀ‖ nuclear
    difference = first.mean(0) - second.mean(0)
    wanted = difference @ difference + np.square(one).sum() + np.square(other).sum() - 2 * nuclear
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(wanted, rel=1e-8)


def test_bad_features_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least two"):
        frechet_distance(moments(np.zeros((1, 2))), moments(np.zeros((4, 2))))
    with pytest.raises(InvalidInput, match="cannot be compared"):
        frechet_distance(moments(np.zeros((4, 2))), moments(np.zeros((4, 3))))
    with pytest.raises(InvalidInput, match="not finite"):
        Moments(2).update(np.array([[0.0, np.nan]]))
    with pytest.raises(InvalidInput, match=r"\(N, 2\)"):
        Moments(2).update(np.zeros((3, 4)))
