"""Writes an evaluation down: ``figures.json``, ``report.md``, and ``report.html`` with plots as inline SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ksgen_models.errors import DatasetError
from ksgen_models.metrics.catalogue import METRICS, Metric
from ksgen_models.metrics.evaluation import BASELINE
from ksgen_models.metrics.networks.loading import Choice
from ksgen_models.metrics.published import PublishedRow, published_rows
from ksgen_models.metrics.summary import ALL, Figure, RowSummary
from ksgen_models.page import render_page

FORMAT = "ksgen-evaluation"
PUBLISHED_NOTE = "Published on other data: no figure here can be compared with one measured above."
_WIDTH, _LEFT, _RIGHT, _LINE = 520, 210, 16, 26  # of a plot, in pixels


@dataclass(frozen=True)
class Evaluation:
    """Everything that is written down.

    Attributes:
        rows: the table, generated rows first.
        choice: which metrics were measured, with which networks, and which are missing.
        settings: how it was measured, for the record.
    """

    rows: Sequence[RowSummary]
    choice: Choice
    settings: Mapping[str, Any]


def write_evaluation(evaluation: Evaluation, folder: Path) -> tuple[Path, Path, Path]:
    """Write the three files, each whole or not at all; returns JSON, Markdown and HTML.

    Raises:
        DatasetError: the folder cannot be written.
    """
    record = as_record(evaluation)
    texts = {
        "figures.json": json.dumps(record, indent=1, allow_nan=False) + "\n",
        "report.md": as_markdown(evaluation),
        "report.html": as_page(evaluation),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            partial = folder / f".{name}.part"
            partial.write_text(text, encoding="utf-8")
            partial.replace(folder / name)
    except OSError as exc:
        raise DatasetError(f"cannot write to {folder}: {exc}") from exc
    return folder / "figures.json", folder / "report.md", folder / "report.html"


def as_record(evaluation: Evaluation) -> dict[str, Any]:
    """Everything as plain values; a figure that could not be measured is null."""
    return {
        "format": FORMAT,
        "version": 1,
        "settings": dict(evaluation.settings),
        "metrics": {name: asdict(METRICS[name]) for name in evaluation.choice.metrics},
        "networks": {
            name: {"source": found.source, "identity": found.identity}
            for name, found in evaluation.choice.networks.items()
        },
        "missing": dict(evaluation.choice.missing),
        "rows": [_row_record(row) for row in evaluation.rows],
        "published": {"note": PUBLISHED_NOTE, "rows": [asdict(row) for row in published_rows()]},
    }


def _row_record(row: RowSummary) -> dict[str, Any]:
    splits = {
        split: {
            name: {key: _finite(value) for key, value in asdict(figure).items()} for name, figure in figures.items()
        }
        for split, figures in row.splits.items()
    }
    return {**asdict(row), "splits": splits}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def as_markdown(evaluation: Evaluation) -> str:
    """A table for every split, what is missing, and the published reference rows."""
    parts = ["# Evaluation of clips", "", _headline(evaluation), ""]
    for split in _splits(evaluation.rows):
        parts += [f"## {split}", "", *_markdown_table(*_table(evaluation, split)), ""]
    if evaluation.choice.missing:
        parts += ["## Not measured", ""]
        parts += [f"- **{METRICS[name].label}**: {why}.{_instead(name)}" for name, why in _missing(evaluation)] + [""]
    failed = [(row.name, key, why) for row in evaluation.rows for key, why in row.failed.items()]
    if failed:
        parts += ["## Clips that could not be measured", ""]
        parts += [f"- {name}, {key}: {why}" for name, key, why in failed] + [""]
    parts += ["## Published reference rows", "", PUBLISHED_NOTE, ""]
    for table, data, rows in _published():
        parts += [f"### {table}, {data}", ""]
        columns = list(rows[0].figures)
        parts += _markdown_table(["method", *columns], [[row.method, *_plain(row)] for row in rows])
        parts += [""]
    return "\n".join(parts)


def as_page(evaluation: Evaluation) -> str:
    """The same as one self-contained HTML page, with a plot for every metric."""
    splits = _splits(evaluation.rows)
    return render_page(
        Path(__file__).with_name("report.html"),
        headline=_headline(evaluation),
        plots=[plot for plot in (_plot(evaluation.rows, METRICS[name]) for name in evaluation.choice.metrics) if plot],
        tables=[(split, *_table(evaluation, split)) for split in splits],
        missing=[(METRICS[name].label, why, _instead(name).strip()) for name, why in _missing(evaluation)],
        failed=[(row.name, key, why) for row in evaluation.rows for key, why in row.failed.items()],
        metrics=[METRICS[name] for name in evaluation.choice.metrics],
        networks=evaluation.choice.networks,
        settings=evaluation.settings,
        published=[
            (table, data, list(rows[0].figures), [(row.method, _plain(row)) for row in rows])
            for table, data, rows in _published()
        ],
        note=PUBLISHED_NOTE,
        width=_WIDTH,
        left=_LEFT,
    )


def _headline(evaluation: Evaluation) -> str:
    clips = max((row.clips for row in evaluation.rows), default=0)
    words = f"{len(evaluation.rows)} rows, {clips} real clips, {len(evaluation.choice.metrics)} metrics"
    missing = len(evaluation.choice.missing)
    return words + (
        f"; {missing} metrics lack their networks and have stand-ins where there are any." if missing else "."
    )


def _missing(evaluation: Evaluation) -> list[tuple[str, str]]:
    return list(evaluation.choice.missing.items())


def _instead(name: str) -> str:
    stand_in = METRICS[name].stand_in
    return f" Instead: {METRICS[stand_in].label}." if stand_in else " There is no stand-in."


def _splits(rows: Sequence[RowSummary]) -> list[str]:
    return list(dict.fromkeys(split for row in rows for split in row.splits))


def _table(evaluation: Evaluation, split: str) -> tuple[list[str], list[list[str]]]:
    names = evaluation.choice.metrics
    head = ["row", "clips", *(_heading(METRICS[name]) for name in names)]
    body = []
    for row in evaluation.rows:
        figures = row.splits.get(split)
        if figures:
            clips = str(max(figure.clips for figure in figures.values())) if figures else "0"
            body.append([_named(row), clips, *(_text(figures[name]) for name in names)])
    return head, body


def _named(row: RowSummary) -> str:
    marks = [word for word, number in (("absent", row.absent), ("failed", len(row.failed))) if number]
    counts = {"absent": row.absent, "failed": len(row.failed)}
    detail = ", ".join(f"{counts[word]} {word}" for word in marks)
    kind = f" ({BASELINE})" if row.kind == BASELINE else ""
    return f"{row.name}{kind}" + (f" [{detail}]" if detail else "")


def _heading(metric: Metric) -> str:
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher else '↓'}"


def _text(figure: Figure) -> str:
    if math.isnan(figure.value):
        return "–"
    if math.isnan(figure.low):
        return number(figure.value)
    return f"{number(figure.value)} [{number(figure.low)}, {number(figure.high)}]"


def number(value: float) -> str:
    """A figure with four significant digits, without an exponent."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 5e-7:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"


def _markdown_table(head: list[str], body: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(cells) for cells in body)]


def _published() -> list[tuple[str, str, list[PublishedRow]]]:
    groups: dict[tuple[str, str], list[PublishedRow]] = {}
    for row in published_rows():
        groups.setdefault((row.table, row.data), []).append(row)
    return [(table, data, rows) for (table, data), rows in groups.items()]


def _plain(row: PublishedRow) -> list[str]:
    return [f"{value:g}" for value in row.figures.values()]


def _plot(rows: Sequence[RowSummary], metric: Metric) -> dict[str, Any] | None:
    """One metric of all clips: a dot and its interval a row, on an axis that holds them all."""
    shown = [(row, row.splits[ALL][metric.name]) for row in rows if ALL in row.splits]
    shown = [(row, figure) for row, figure in shown if math.isfinite(figure.value)]
    if not shown:
        return None
    values = [value for _, f in shown for value in (f.value, f.low, f.high) if math.isfinite(value)]
    least, most = min(values), max(values)
    margin = (most - least) * 0.08 or abs(most) * 0.05 or 0.5
    least, most = least - margin, most + margin

    def x(value: float) -> float:
        return round(_LEFT + (value - least) / (most - least) * (_WIDTH - _LEFT - _RIGHT), 1)

    marks = [
        {
            "name": row.name,
            "baseline": row.kind == BASELINE,
            "y": 18 + index * _LINE,
            "x": x(figure.value),
            "low": x(figure.low) if math.isfinite(figure.low) else None,
            "high": x(figure.high) if math.isfinite(figure.high) else None,
            "text": _text(figure),
        }
        for index, (row, figure) in enumerate(shown)
    ]
    ticks = [{"x": x(value), "text": number(value)} for value in (least + margin, most - margin)]
    if least + margin == most - margin:
        ticks = ticks[:1]
    return {
        "title": _heading(metric),
        "meaning": metric.meaning,
        "marks": marks,
        "ticks": ticks,
        "height": 18 + len(marks) * _LINE + 20,
    }
