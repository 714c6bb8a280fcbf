"""Writes the report of an imagination: fills the template ``report.html`` that lies beside this module."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ksgen_agent.imagination import Imagination
from ksgen_agent.report import pictures
from ksgen_models.errors import DatasetError
from ksgen_models.page import render_page
from ksgen_models.scores import SCORES
from ksgen_models.types import KeyStep

_STAGES = {
    "check": "Check of the input",
    "domain": "Domain check",
    "plan": "Plan",
    "key_step_images": "Key-step images",
    "region": "Regions",
    "clip": "Clips",
    "hands": "Hands",
    "scores": "RoM and scores",
}


@dataclass(frozen=True)
class Bar:
    """A figure with a bar: ``share`` of full length in [0, 1], ``text`` the figure with its unit, ``grade`` one of
    good, fair and poor, or empty for a figure that is neither."""

    label: str
    share: float
    text: str
    grade: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class StepView:
    """One key step as the template shows it; the pictures are ``data:`` addresses."""

    number: int
    description: str
    image: str
    clip: str
    hands: str
    hands_still: str
    region: str
    goal: str
    hand_frames: int
    frames: int
    fps: float
    size: tuple[int, int]
    scores: tuple[Bar, ...]
    timings: tuple[Bar, ...]


@dataclass(frozen=True, eq=False)
class ReportFilm:
    """A film that a report shows after the plan.

    Attributes:
        title, caption: its words.
        frames: (T, H, W, 3) uint8.
        fps: frames a second.
    """

    title: str
    caption: str
    frames: NDArray[np.uint8]
    fps: float


def write_report(imagination: Imagination, path: str | Path, *, film: ReportFilm | None = None) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        imagination: what is shown.
        path: of the page.
        film: of what was done with it.

    Raises:
        DatasetError: the file cannot be written.
    """
    path = Path(path)
    page = render_report(imagination, film)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise DatasetError(f"cannot write the report {path}: {exc}") from exc
    return path


def render_report(imagination: Imagination, film: ReportFilm | None = None) -> str:
    """The page as text."""
    height, width = imagination.frame.shape[:2]
    timings = imagination.timings
    return render_page(
        Path(__file__).with_name("report.html"),
        task=imagination.task,
        frame=pictures.still(imagination.frame),
        size=(width, height),
        plan=imagination.plan,
        confidence=_view_confidence(imagination.plan.confidence),
        meanings=SCORES,
        steps=[_view_step(imagination, step) for step in imagination.steps],
        film=_view_film(film),
        total=timings.get("total"),
        first_step=timings.get("first_step"),
        stages=_view_stages(timings),
        provenance=_view_provenance(imagination),
    )


def _view_step(imagination: Imagination, step: KeyStep) -> StepView:
    height, width = step.image.shape[:2]
    drawn = pictures.hands_drawn(step)
    found = step.hands.valid.any(axis=1)
    shown = int(found.argmax()) if found.any() else len(drawn) // 2
    seconds = {_STAGES[name]: value for name, value in imagination.step_timings(step.index).items() if name in _STAGES}
    return StepView(
        number=step.index + 1,
        description=step.description,
        image=pictures.still(step.image),
        clip=pictures.animation(step.clip, step.fps),
        hands=pictures.animation(drawn, step.fps),
        hands_still=pictures.still(drawn[shown]),
        region=pictures.still(pictures.region_drawn(step)),
        goal=pictures.still(step.goal),
        hand_frames=int(found.sum()),
        frames=len(step.clip),
        fps=step.fps,
        size=(width, height),
        scores=tuple(_view_scores(step)),
        timings=tuple(_view_seconds(seconds)),
    )


def _view_film(film: ReportFilm | None) -> dict[str, Any] | None:
    if film is None:
        return None
    moving = pictures.animation(film.frames, film.fps, hold=2.0, quality=60)
    return {
        "title": film.title,
        "caption": film.caption,
        "moving": moving,
        "still": pictures.still(film.frames[-1]),
        "size": (film.frames.shape[2], film.frames.shape[1]),
    }


def _view_confidence(confidence: float) -> Bar:
    share = min(max(confidence, 0), 1)
    return Bar("Confidence", share, f"{confidence:.2f}", _grade(confidence, 0.33, 0.66), "In [0, 1].")


def _view_scores(step: KeyStep) -> list[Bar]:
    bars = []
    for spec in SCORES:
        if spec.name in step.scores:
            value = step.scores[spec.name]
            share = min(max((value - spec.low) / (spec.high - spec.low), 0), 1)
            text = f"{value:.1f} {spec.unit}" if spec.unit else f"{value:.2f}"
            bars.append(Bar(spec.label, share, text, _grade(value, spec.fair, spec.good), spec.meaning))
    return bars


def _grade(value: float, fair: float, good: float) -> str:
    return "good" if value >= good else "fair" if value >= fair else "poor"


def _view_stages(timings: Mapping[str, float]) -> list[Bar]:
    """Seconds by stage, summed over the steps."""
    sums = dict.fromkeys(_STAGES, 0.0)
    for name, value in timings.items():
        stage = name.rpartition("/")[2]
        if stage in sums:
            sums[stage] += value
    return _view_seconds({_STAGES[stage]: value for stage, value in sums.items() if value > 0})


def _view_seconds(seconds: Mapping[str, float]) -> list[Bar]:
    longest = max(seconds.values(), default=0) or 1
    return [Bar(label, value / longest, f"{value:.2f} s") for label, value in seconds.items()]


def _view_provenance(imagination: Imagination) -> list[tuple[str, str]]:
    """What is the same for all steps, as rows of name and text; prompts are the steps' own sentences."""
    if not imagination.steps:
        return []
    rows: list[tuple[str, str]] = []
    for name, value in imagination.steps[0].provenance.items():
        if name not in ("prompt", "task", "steps"):
            rows += _flatten(name, value)
    return rows


def _flatten(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in _flatten(f"{name} · {key}", inner)]
    if value is None:
        return [(name, "—")]
    return [(name, value if isinstance(value, str) else json.dumps(value, default=str))]
