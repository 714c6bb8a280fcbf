"""Trust is a probability: fitted to what happened, it says how often a key step succeeds."""

import numpy as np
import pytest

from ksgen_models import calibration
from ksgen_models.calibration import fit_trust, load_trust, reliability, save_trust, shipped_trust
from ksgen_models.errors import InvalidInput
from ksgen_models.scores import SCORES, trust

NAMES = ("hand_rate", "text_agreement", "noise")


def key_steps(number, seed):
    """Success hangs on the first two scores, against the third, which more of must never count against."""
    rng = np.random.default_rng(seed)
    table = rng.random((number, 3))
    odds = 6 * (table[:, 0] - 0.5) + 8 * (table[:, 1] - 0.5) - 2 * (table[:, 2] - 0.5)
    scores = [dict(zip(NAMES, row, strict=True)) for row in table.tolist()]
    return scores, (rng.random(number) < 1 / (1 + np.exp(-odds))).tolist()


def test_a_fitted_model_says_how_often_others_succeed():
    model = fit_trust(*key_steps(600, 0), NAMES)
    scores, ended = key_steps(2000, 1)
    found = reliability([model.probability(row) for row in scores], ended)
    always = reliability([float(np.mean(ended))] * len(ended), ended)
    assert found.expected_error < 0.05
    assert found.brier < 0.8 * always.brier
    assert found.ranking > 0.8
    assert [number for *_, number in found.bins] == [400] * 5


def test_more_of_a_score_never_means_less_trust():
    model = fit_trust(*key_steps(600, 0), NAMES)
    assert min(model.weights) >= 0
    assert model.weights[2] == 0
    low, high = ({"hand_rate": 0.5, "text_agreement": value, "noise": 0.5} for value in (0.1, 0.9))
    assert model.probability(low) < model.probability(high)
    best, worst = ({spec.name: getattr(spec, end) for spec in SCORES} for end in ("high", "low"))
    assert 0 <= trust(worst) < trust(best) <= 1


def test_a_score_that_is_not_known_counts_as_the_mean(tmp_path):
    model = fit_trust(*key_steps(300, 2), NAMES, provenance={"steps": 300})
    mean = dict(zip(NAMES, model.mean, strict=True))
    assert model.probability({"hand_rate": mean["hand_rate"]}) == pytest.approx(model.probability(mean))
    save_trust(model, tmp_path / "trust.json")
    assert load_trust(tmp_path / "trust.json") == model


def test_what_all_ended_alike_says_nothing():
    scores, _ = key_steps(10, 0)
    with pytest.raises(InvalidInput, match="ended alike"):
        fit_trust(scores, [True] * 10, NAMES)


def test_a_calibrated_model_is_what_trust_says(monkeypatch, tmp_path):
    scores = {spec.name: 0.5 * (spec.low + spec.high) for spec in SCORES}
    guessed = trust(scores)
    save_trust(fit_trust(*key_steps(300, 2), NAMES), tmp_path / "trust.json")
    monkeypatch.setattr(calibration, "SHIPPED", tmp_path / "trust.json")
    shipped_trust.cache_clear()
    assert trust(scores) == load_trust(tmp_path / "trust.json").probability(scores) != guessed
    shipped_trust.cache_clear()
