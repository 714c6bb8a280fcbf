"""The report of a curation job: one self-contained HTML page of what was kept and what was dropped, and why."""

from __future__ import annotations

import base64
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksgen_export.curation.manifest import FAILED, KEPT, REJECTED, Row
from ksgen_export.curation.parts import REASONS
from ksgen_export.curation.thresholds import Thresholds
from ksgen_models.page import render_page

if TYPE_CHECKING:
    from ksgen_export.curation.job import CurationSummary

_SHOWN_KEPT, _SHOWN_REASON = 24, 6
_SHOWN_FAILURES = 100
_FIGURES = ("motion", "shake", "blur", "text", "cut")


@dataclass(frozen=True)
class Example:
    """One row with its picture, as the template shows it."""

    picture: str
    title: str
    caption: str


@dataclass(frozen=True)
class Share:
    """A line of the table of reasons; ``share`` of all seconds in [0, 1]."""

    name: str
    meaning: str
    rows: int
    seconds: float
    share: float
    examples: tuple[Example, ...]


class ReportBuilder:
    """Takes rows one at a time and keeps a fair sample of their pictures, so that memory stays bounded."""

    def __init__(self, limits: Thresholds) -> None:
        self._limits = limits
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tasks: Counter[str] = Counter()
        self._samples: dict[str, list[Row]] = defaultdict(list)
        self._seen: Counter[str] = Counter()
        self._random = random.Random(0)

    def add(self, row: Row) -> None:
        """Take a row, with its picture if it has one."""
        self.counts[row.status] += 1
        seconds = row.frames / row.fps if row.fps else 0.0
        for reason in row.reasons:
            self.reasons[reason] += 1
            self._seconds[reason] += seconds
        if row.status != FAILED:
            self._seconds[row.status] += seconds
        if row.status == KEPT:
            self._tasks[row.task or row.source] += 1
        for name in row.reasons or (row.status,):
            self._sample(name, row)

    def render(self, summary: CurationSummary) -> str:
        """The page as text."""
        looked_at = self._seconds[KEPT] + self._seconds[REJECTED]
        return render_page(
            Path(__file__).with_name("report.html"),
            summary=summary,
            kept=self._share(KEPT, "Written as subclips.", looked_at),
            rejected_seconds=self._seconds[REJECTED],
            seconds=looked_at,
            reasons=[self._share(name, meaning, looked_at) for name, meaning in REASONS.items() if self.reasons[name]],
            tasks=self._tasks.most_common(20),
            failures=summary.failures[:_SHOWN_FAILURES],
            problems=summary.problems[:_SHOWN_FAILURES],
            thresholds=self._limits.as_dict(),
        )

    def _sample(self, name: str, row: Row) -> None:
        """Reservoir sampling: every row has the same chance to be shown."""
        room = _SHOWN_KEPT if name == KEPT else _SHOWN_REASON
        self._seen[name] += 1
        if len(self._samples[name]) < room:
            self._samples[name].append(row)
        elif (place := self._random.randrange(self._seen[name])) < room:
            self._samples[name][place] = row

    def _share(self, name: str, meaning: str, looked_at: float) -> Share:
        rows = self.counts[name] if name == KEPT else self.reasons[name]
        seconds = self._seconds[name]
        examples = sorted(self._samples[name], key=lambda row: (row.video, row.segment, row.start))
        return Share(
            name.replace("_", " "), meaning, rows, seconds, seconds / looked_at if looked_at else 0.0,
            tuple(_example(row) for row in examples if row.picture),
        )  # fmt: skip


def _example(row: Row) -> Example:
    picture = "data:image/webp;base64," + base64.b64encode(row.picture).decode()
    figures = [f"{name} {getattr(row, name):.3f}" for name in _FIGURES if getattr(row, name) == getattr(row, name)]
    if row.hand == row.hand:
        figures.append(f"hand in {100 * row.hand:.0f} % of frames")
    said = f"{row.description} · " if row.description else ""
    same = f"as {row.detail} · " if row.detail else ""
    return Example(picture, f"{row.video}, {row.start:.1f} to {row.stop:.1f} s", said + same + ", ".join(figures))
