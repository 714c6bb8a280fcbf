"""What a benchmark finds: ratios with their spread, curves, tables; and how they lie in JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ksgen_models.errors import DatasetError

FORMAT, VERSION = "ksgen-benchmarks", 1
LESS, MORE = "less", "more"
LIMIT, PEER, GROWTH = "limit", "peer", "growth"


@dataclass(frozen=True)
class Ratio:
    """Two durations or rates of one run, one over the other.

    Attributes:
        name: stays the same from run to run; `guard` matches by it.
        what: in words.
        kind: `LIMIT` (against what cannot be beaten), `PEER` (against what a user would pick) or `GROWTH` (the largest
            of a curve over its smallest).
        better: `LESS` or `MORE`.
        value: median of the rounds.
        spread: half of how far the rounds lie apart, over the median.
        runs: the ratio of each round.
        bar: what it must reach, or None.
    """

    name: str
    what: str
    kind: str
    better: str
    value: float
    spread: float
    runs: tuple[float, ...]
    bar: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is as good as its bar; True without one."""
        return self.bar is None or (self.value <= self.bar if self.better == LESS else self.value >= self.bar)


def ratio(name: str, what: str, kind: str, runs: Sequence[float], *, better: str, bar: float | None = None) -> Ratio:
    """The median of the rounds' ratios and how far they lie apart."""
    middle = statistics.median(runs)
    spread = (max(runs) - min(runs)) / 2 / middle if middle else 0.0
    return Ratio(name, what, kind, better, middle, spread, tuple(round(run, 4) for run in runs), bar)


@dataclass(frozen=True)
class Curve:
    """How a cost grows.

    Attributes:
        name: file name of its plot.
        title: in words.
        x, y: what the axes show, with units.
        points: (x, median y) pairs, x rising.
    """

    name: str
    title: str
    x: str
    y: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Table:
    """A table as it is shown.

    Attributes:
        title: in words.
        head: names of the columns.
        rows: cells as text.
        note: what the table needs said.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What one part of the benchmarks found.

    Attributes:
        name: of the part.
        how: what was measured, in words.
        ratios: what `guard` compares.
        figures: name with unit → value, of this machine only.
        curves: how costs grow.
        tables: further details.
    """

    name: str
    how: str
    ratios: tuple[Ratio, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Benchmarks:
    """One run.

    Attributes:
        machine: facts, see `ksgen_launch.benchmarks.facts`.
        parts: what was found.
    """

    machine: Mapping[str, Any]
    parts: tuple[Part, ...]


def as_record(found: Benchmarks) -> dict[str, Any]:
    """Everything as plain values."""
    return {"format": FORMAT, "version": VERSION, **asdict(found)}


def write_figures(found: Benchmarks, path: Path) -> Path:
    """Write the JSON file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(as_record(found), indent=1, allow_nan=False) + "\n", "utf-8")
    partial.replace(path)
    return path


def read_figures(path: Path) -> Benchmarks:
    """Read what `write_figures` wrote.

    Raises:
        DatasetError: there is no such file, or it is something else.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {record['format']!r}, version {record['version']!r}")
        return Benchmarks(record["machine"], tuple(_part(part) for part in record["parts"]))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DatasetError(
            f"{path} holds no benchmark figures of version {VERSION} ({exc}); "
            "make them with: ksgen-agent bench all --write docs"
        ) from exc


def _part(record: dict[str, Any]) -> Part:
    ratios = tuple(Ratio(**{**item, "runs": tuple(item["runs"])}) for item in record["ratios"])
    curves = tuple(Curve(**{**item, "points": tuple((x, y) for x, y in item["points"])}) for item in record["curves"])
    tables = tuple(
        Table(item["title"], tuple(item["head"]), tuple(tuple(row) for row in item["rows"]), item["note"])
        for item in record["tables"]
    )
    return Part(record["name"], record["how"], ratios, dict(record["figures"]), curves, tables)
