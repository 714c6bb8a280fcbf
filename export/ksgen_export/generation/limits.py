"""Which episodes are good enough, by the scores of their key steps."""

from __future__ import annotations

from collections.abc import Mapping

from ksgen_export.episode import Episode, EpisodeKeyStep
from ksgen_export.generation.options import TRUST
from ksgen_models.scores import ALWAYS_SCORED, trust


def least_scores(episode: Episode) -> dict[str, float]:
    """The least value of each score over the key steps that have it; none where nothing was scored."""
    found: dict[str, float] = {}
    for step in episode.key_steps:
        for name, value in _scores(step).items():
            found[name] = min(value, found.get(name, value))
    return found


def shortfalls(episode: Episode, limits: Mapping[str, float]) -> tuple[str, ...]:
    """One sentence for each score of a key step that is below its limit; a score that is missing is below any."""
    found = []
    for index, step in enumerate(episode.key_steps):
        scores = _scores(step)
        for name, limit in limits.items():
            value = scores.get(name)
            if value is None:
                found.append(f"key step {index + 1} has no {name}, at least {limit:g} is asked for")
            elif not value >= limit:
                found.append(f"{name} {value:.4g} of key step {index + 1} is below {limit:g}")
    return tuple(found)


def _scores(step: EpisodeKeyStep) -> dict[str, float]:
    scores = {name: float(value) for name, value in step.scores.items()}
    if all(name in scores for name in ALWAYS_SCORED):
        scores[TRUST] = trust(scores)
    return scores
