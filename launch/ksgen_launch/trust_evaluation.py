"""The work behind ``ksgen-agent evaluate trust``: fit trust to how key steps ended, and see what it is worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ksgen_models.calibration import Reliability, TrustModel, fit_trust, reliability
from ksgen_models.errors import DatasetError, InvalidInput
from ksgen_models.scores import SCORE_NAMES


@dataclass(frozen=True)
class Ending:
    """How one imagined key step ended.

    Attributes:
        seed: of its scene, by which it is used for fitting (even) or for testing (odd).
        scores: its scores.
        success: what was to be moved ended where it belongs.
    """

    seed: int
    scores: dict[str, float]
    success: bool


def read_endings(paths: Iterable[Path]) -> list[Ending]:
    """Read ``figures.json`` of ``evaluate``, or ``.jsonl`` of objects with ``seed``, ``scores`` and ``success``.

    Raises:
        DatasetError: a file is of neither kind.
    """
    endings = []
    for path in paths:
        try:
            rows = _lines(path) if path.suffix == ".jsonl" else _figures(path)
            endings += [Ending(int(row["seed"]), dict(row["scores"]), bool(row["success"])) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise DatasetError(f"{path} says not how key steps ended ({exc!r}); see `evaluate trust --help`") from exc
    return endings


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _figures(path: Path) -> list[dict[str, Any]]:
    scenes = json.loads(path.read_bytes())["scenes"]
    return [
        {"seed": scene["seed"], "scores": step["scores"], "success": step["landed"]}
        for scene in scenes
        for step in scene["steps"]
    ]


def calibrate(endings: Sequence[Ending], source: str) -> tuple[TrustModel, Reliability, Reliability]:
    """Fit on scenes with even seeds; measure on those with odd seeds.

    Returns:
        The model; what it is worth; and what it is worth to say of each key step how often the fitted ones succeeded.

    Raises:
        InvalidInput: one half is empty, or nothing tells success from failure.
    """
    fitted, others = ([one for one in endings if one.seed % 2 == rest] for rest in (0, 1))
    if not others:
        raise InvalidInput("there is no key step of a scene with an odd seed to test with; evaluate more scenes")
    share = sum(one.success for one in fitted) / max(len(fitted), 1)
    provenance = {"source": source, "key_steps": len(fitted), "succeeded": share, "scenes": "even seeds"}
    model = fit_trust(
        [one.scores for one in fitted], [one.success for one in fitted], SCORE_NAMES, provenance=provenance
    )
    ended = [one.success for one in others]
    said = reliability([model.probability(one.scores) for one in others], ended)
    return model, said, reliability([share] * len(others), ended, bins=1)


def reliability_picture(found: Reliability) -> str:
    """SVG of the bins: what was said against what happened."""
    at = lambda x, y: f"{60 + 300 * x:.1f},{340 - 300 * y:.1f}"  # noqa: E731
    line = " ".join(at(said, ended) for said, ended, _ in found.bins)
    dots = "".join(
        f'<circle cx="{60 + 300 * said:.1f}" cy="{340 - 300 * ended:.1f}" r="5" fill="#1f6feb"/>'
        f'<text x="{66 + 300 * said:.1f}" y="{356 - 300 * ended:.1f}" font-size="11">n = {number}</text>'
        for said, ended, number in found.bins
    )
    ticks = "".join(
        f'<text x="{60 + 300 * t:.0f}" y="358" text-anchor="middle">{t:g}</text>'
        f'<text x="52" y="{344 - 300 * t:.0f}" text-anchor="end">{t:g}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400" '
        'font-family="sans-serif" font-size="12"><rect width="400" height="400" fill="white"/>'
        '<rect x="60" y="40" width="300" height="300" fill="none" stroke="#888"/>'
        f'<polyline points="{at(0, 0)} {at(1, 1)}" stroke="#aaa" stroke-dasharray="4 4" fill="none"/>'
        f'<polyline points="{line}" stroke="#1f6feb" stroke-width="2" fill="none"/>{dots}{ticks}'
        '<text x="210" y="382" text-anchor="middle">trust</text>'
        '<text x="18" y="190" text-anchor="middle" transform="rotate(-90 18 190)">share that succeeded</text>'
        f'<text x="210" y="26" text-anchor="middle">Brier score {found.brier:.3f}, expected calibration error '
        f"{found.expected_error:.3f}</text></svg>\n"
    )
