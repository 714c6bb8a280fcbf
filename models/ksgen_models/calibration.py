"""From scores to a probability of success: a logistic model, fitted to key steps of which it is known how they ended.

No score may count against a key step, since of all of them more is better; so weights are not negative, and a higher
score never means a lower trust. What is not known of a key step counts as the mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_models.errors import InvalidInput

SHIPPED = Path(__file__).parent / "trust.json"
"""What `ksgen-agent evaluate trust` wrote of key steps that a robot did."""


@dataclass(frozen=True)
class TrustModel:
    """A calibrated model of trust.

    Attributes:
        names: the scores that count.
        mean, scale: of each, to standardise it.
        weights: of each standardised score, not negative.
        intercept: log-odds of success of a key step with mean scores.
        provenance: what it was fitted to.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, scores: Mapping[str, float]) -> float:
        """Probability of success of a key step with these scores, in [0, 1]."""
        row = self._standardised([scores])[0]
        return float(_sigmoid(row @ np.array(self.weights) + self.intercept))

    def _standardised(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        mean, scale = np.array(self.mean), np.array(self.scale)
        return (_table(rows, self.names, mean) - mean) / scale


def fit_trust(
    scores: Sequence[Mapping[str, float]],
    successes: Sequence[bool],
    names: Sequence[str],
    *,
    penalty: float = 1.0,
    provenance: Mapping[str, Any] | None = None,
) -> TrustModel:
    """Fit by maximum likelihood, with a penalty of ``penalty`` / 2 times the sum of the squared weights.

    Args:
        scores: of N key steps.
        successes: how they ended.
        names: the scores that may count.
        penalty: as much as so many key steps with standardised scores of about one.
        provenance: to be kept with the model.

    Raises:
        InvalidInput: there is nothing to tell success from failure by.
    """
    from scipy.optimize import minimize

    ended = np.array(successes, float)
    if not len(ended) or ended.min() == ended.max():
        raise InvalidInput(f"{len(ended)} key steps that all ended alike say nothing about trust; give others too")
    known = _table(scores, names, np.full(len(names), np.nan))
    mean = np.nanmean(known, axis=0)
    scale = np.maximum(np.nanstd(known, axis=0), 1e-3)
    table = (np.where(np.isfinite(known), known, mean) - mean) / scale

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, intercept = parameters[:-1], parameters[-1]
        odds = table @ weights + intercept
        value = np.logaddexp(0, odds).sum() - ended @ odds + 0.5 * penalty * weights @ weights
        rest = _sigmoid(odds) - ended
        return float(value), np.append(table.T @ rest + penalty * weights, rest.sum())

    bounds = [(0.0, None)] * len(names) + [(None, None)]
    found = minimize(loss, np.zeros(len(names) + 1), jac=True, bounds=bounds, method="L-BFGS-B").x
    return TrustModel(
        tuple(names),
        tuple(map(float, mean)),
        tuple(map(float, scale)),
        tuple(map(float, found[:-1])),
        float(found[-1]),
        dict(provenance or {}),
    )


@dataclass(frozen=True)
class Reliability:
    """How well probabilities agree with what happened.

    Attributes:
        brier: mean square difference to what happened (0 or 1); less is better.
        expected_error: expected calibration error, the mean difference of a bin's mean probability to its share of
            successes, by its size.
        bins: (mean probability, share of successes, number) of equally filled bins.
        ranking: probability that of a success and a failure the success is trusted more (area under the ROC curve).
    """

    brier: float
    expected_error: float
    bins: tuple[tuple[float, float, int], ...]
    ranking: float


def reliability(probabilities: Sequence[float], successes: Sequence[bool], *, bins: int = 5) -> Reliability:
    """Compare probabilities with what happened."""
    said, ended = np.array(probabilities, float), np.array(successes, float)
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    table = tuple((float(said[part].mean()), float(ended[part].mean()), len(part)) for part in parts)
    error = sum(number * abs(mean - share) for mean, share, number in table) / len(said)
    good, bad = said[ended > 0.5], said[ended < 0.5]
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean() if len(good) and len(bad) else np.nan
    return Reliability(float(np.square(said - ended).mean()), float(error), table, float(above))


def save_trust(model: TrustModel, path: Path) -> None:
    """Write a model as JSON."""
    path.write_text(json.dumps(asdict(model), indent=1) + "\n")


def load_trust(path: Path) -> TrustModel:
    """Read what `save_trust` wrote."""
    data = json.loads(path.read_text())
    columns = {name: tuple(data[name]) for name in ("names", "mean", "scale", "weights")}
    return TrustModel(**columns, intercept=data["intercept"], provenance=data["provenance"])


@cache
def shipped_trust() -> TrustModel:
    """The model in the package."""
    return load_trust(SHIPPED)


def _table(rows: Sequence[Mapping[str, float]], names: Sequence[str], missing: NDArray[np.float64]) -> NDArray:
    return np.array(
        [[row.get(name, default) for name, default in zip(names, missing, strict=True)] for row in rows], np.float64
    ).reshape(len(rows), len(names))


def _sigmoid(odds: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * odds))
