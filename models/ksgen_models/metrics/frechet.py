"""The Fréchet distance between two sets of features, from running moments.

d² = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½, with unbiased covariances: FID (Heusel et al., NeurIPS 2017) with
Inception features of frames, FVD (Unterthiner et al., 2018) with I3D features of clips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput


class Moments:
    """Mean and covariance of a stream of vectors, in float64; memory depends on the dimension alone.

    Batches are merged with the update of Chan, Golub and LeVeque, which stays exact where the mean is large beside the
    spread.
    """

    def __init__(self, dimension: int) -> None:
        """Start with nothing seen of vectors with ``dimension`` entries."""
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))

    def update(self, features: NDArray[np.floating], weight: int = 1) -> None:
        """Add vectors (N, D), each ``weight`` times.

        Raises:
            InvalidInput: the shape is another, or a value is not finite.
        """
        batch = np.asarray(features, np.float64)
        if batch.ndim != 2 or batch.shape[1] != len(self.mean):
            raise InvalidInput(f"features must be (N, {len(self.mean)}), these are {batch.shape}")
        if not np.isfinite(batch).all():
            raise InvalidInput("features hold a value that is not finite; look at the network that made them")
        if not len(batch) or weight < 1:
            return
        mean = batch.mean(axis=0)
        centred = batch - mean
        added = weight * len(batch)
        total = self.count + added
        shift = mean - self.mean
        self._scatter += weight * (centred.T @ centred)
        self._scatter += np.outer(shift, shift) * (self.count * added / total)
        self.mean = self.mean + shift * (added / total)
        self.count = total

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(D, D), divided by N - 1.

        Raises:
            InvalidInput: fewer than two vectors were seen.
        """
        if self.count < 2:
            raise InvalidInput(f"a covariance needs at least two vectors, {self.count} were seen")
        return self._scatter / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared Fréchet distance of two Gaussians with these moments, as FID and FVD report it; ≥ 0.

    The trace of the root comes from two symmetric eigenproblems instead of a general matrix root, which is exact for
    singular covariances too (fewer vectors than dimensions).

    Raises:
        InvalidInput: the dimensions differ, or a set has fewer than two vectors.
    """
    if first.mean.shape != second.mean.shape:
        raise InvalidInput(f"features of {len(first.mean)} and of {len(second.mean)} entries cannot be compared")
    one, other = first.covariance, second.covariance
    difference = first.mean - second.mean
    distance = difference @ difference + np.trace(one) + np.trace(other) - 2 * _trace_of_root(one, other)
    return max(0.0, float(distance))


def _trace_of_root(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """tr (A B)^½ of two symmetric positive semi-definite matrices: the roots of the eigenvalues of A^½ B A^½."""
    from scipy.linalg import eigh

    values, vectors = eigh(one, driver="evd", check_finite=False)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    root = vectors[:, kept] * np.sqrt(values[kept])  # (D, r)
    inner = root.T @ other @ root
    return float(np.sqrt(eigh(inner, eigvals_only=True, driver="evd", check_finite=False).clip(0)).sum())
