"""Dynamic time warping: which frames of two clips belong together when one is sooner or later than the other."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray


def cheapest_ways(
    costs: NDArray[np.floating], rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """The pairs of frames on the way from the first to the last pair with the least sum, of N pairs of clips at once.

    On its way each frame of one clip is paired, in order, with at least one of the other.

    Args:
        costs: (N, R, C), of each pair of frames.
        rows, columns: (N,), only the first so many frames of either clip count; at least 1.

    Returns:
        (N, R, C), true of the pairs from (0, 0) to (rows - 1, columns - 1).
    """
    number, most_rows, most_columns = costs.shape
    best = np.full((number, most_rows + 1, most_columns + 1), np.inf, costs.dtype)  # sums so far
    best[:, 0, 0] = 0.0
    for row, column in itertools.product(range(most_rows), range(most_columns)):
        before = np.minimum.reduce([best[:, row, column], best[:, row, column + 1], best[:, row + 1, column]])
        best[:, row + 1, column + 1] = before + costs[:, row, column]
    pairs = np.zeros(costs.shape, bool)
    clip, row, column = np.arange(number), rows - 1, columns - 1
    for _ in range(most_rows + most_columns - 1):  # backwards; those that have arrived stay where they are
        pairs[clip, row, column] = True
        steps = np.stack([best[clip, row, column], best[clip, row, column + 1], best[clip, row + 1, column]])
        arrived, step = (row == 0) & (column == 0), steps.argmin(0)
        row = np.where(arrived, row, row - (step != 2))
        column = np.where(arrived, column, column - (step != 1))
    return pairs
