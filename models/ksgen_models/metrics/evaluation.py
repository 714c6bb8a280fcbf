"""Measures rows of generated clips against one set of real clips, streaming and resumable.

Every pair is measured once and written to a `Store`; `summary` then makes the table from the stores. Memory does not
grow with the number of clips beyond a few figures each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ksgen_models.errors import AssetError, DatasetError, KSGenError
from ksgen_models.metrics.clips import ClipEntry, ClipSource
from ksgen_models.metrics.measure import Measurer, matched, region
from ksgen_models.metrics.store import Store

_RECORDS = 1  # raise it when what is measured changes, so that older records are measured anew
GENERATED, BASELINE = "generated", "baseline"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: as shown.
        kind: `GENERATED` or `BASELINE`.
        source: its clips.
        identity: what else its clips depend on than their files.
    """

    name: str
    kind: str
    source: ClipSource
    identity: str = ""


@dataclass(frozen=True)
class Measured:
    """One pair, measured.

    Attributes:
        key: of the pair.
        task, text: of the real clip.
        area: share of the picture that the real clip's region of motion covers; NaN where hands were not looked for.
        scalars: figure of each pair metric.
        real: key of the real clip's record in the store of real clips.
        error: why it could not be measured, or "".
    """

    key: str
    task: str
    text: str
    area: float
    scalars: dict[str, float]
    real: str
    error: str = ""


@dataclass(frozen=True)
class MeasuredRow:
    """All pairs of a row.

    Attributes:
        row: the row.
        pairs: its pairs, in the order of the keys.
        absent: real clips for which the row has none.
        generated, real: the stores of features.
    """

    row: Row
    pairs: tuple[Measured, ...]
    absent: int
    generated: Store
    real: Store


def shared_keys(source: ClipSource, real: ClipSource, name: str) -> list[str]:
    """Keys that both have, sorted.

    Raises:
        DatasetError: there is none.
    """
    shared = sorted(source.entries().keys() & real.entries().keys())
    if not shared:
        ours, theirs = next(iter(source.entries()), "nothing"), next(iter(real.entries()), "nothing")
        raise DatasetError(
            f'no clip of "{name}" has the key of a real clip: the first are "{ours}" and "{theirs}"; docs/metrics.md '
            "says how clips are matched"
        )
    return shared


def measure_row(
    row: Row, real: ClipSource, measurer: Measurer, folder: Path, limit: int | None = None
) -> Iterator[Measured]:
    """Measure a row pair by pair; pairs that the store has already are read from it.

    A clip that cannot be read or measured becomes a `Measured` with an ``error``; the others go on.

    Args:
        row: what to measure.
        real: the real clips.
        measurer: holds the networks.
        folder: for the stores.
        limit: measure only so many pairs.

    Raises:
        AssetError: a network cannot be read.
    """
    pair_store, real_store = stores(row, folder)
    for key in shared_keys(row.source, real, row.name)[:limit]:
        entry = real.entries()[key]
        mark = _mark(measurer, row.identity, row.source.entries()[key].mark, entry.mark)
        known = pair_store.values(key, mark)
        yield Measured(**known) if known else _measure(row, real, measurer, entry, mark, pair_store, real_store)


def stores(row: Row, folder: Path) -> tuple[Store, Store]:
    """Where the features of a row and of the real clips are kept."""
    slug = re.sub(r"[^a-z0-9]+", "-", row.name.lower()).strip("-")
    digest = hashlib.sha256(row.name.encode()).hexdigest()[:6]
    return Store(folder / f"{slug}-{digest}"), Store(folder / "real")


def measure_rows(
    rows: Sequence[Row],
    real: ClipSource,
    measurer: Measurer,
    folder: Path,
    limit: int | None = None,
    progress: Callable[[Row, Measured], None] = lambda row, pair: None,
) -> list[MeasuredRow]:
    """Measure all rows; ``progress`` is called after each pair."""
    done = []
    for row in rows:
        pairs = []
        for pair in measure_row(row, real, measurer, folder, limit):
            pairs.append(pair)
            progress(row, pair)
        absent = len(real.entries().keys() - row.source.entries().keys())
        done.append(MeasuredRow(row, tuple(pairs), absent, *stores(row, folder)))
    return done


def _measure(
    row: Row, real: ClipSource, measurer: Measurer, entry: ClipEntry, mark: str, pair_store: Store, real_store: Store
) -> Measured:
    try:
        drawn, fps = row.source.load(entry.key)
        true, true_fps = real.load(entry.key)
        drawn, true = matched(drawn, true)
        real_key = f"{len(true):02d}/{entry.key}"
        real_mark = _mark(measurer, entry.mark)
        if real_store.values(real_key, real_mark) is None:
            features = measurer.features(true, true_fps)
            area = float(region(features, true.shape).mean()) if "keypoints" in features else float("nan")
            real_store.save(real_key, real_mark, {"area": area}, features)
        features = real_store.arrays(real_key)
        area = (real_store.values(real_key) or {})["area"]
        pair = measurer.pair(drawn, true, features, fps, entry.text, entry.key)
        measured = Measured(entry.key, entry.task, entry.text, area, dict(pair.scalars), real_key)
        pair_store.save(entry.key, mark, vars(measured), pair.features)
        return measured
    except AssetError:
        raise  # a network that cannot be used would fail every clip
    except KSGenError as exc:
        return Measured(entry.key, entry.task, entry.text, float("nan"), {}, "", f"{type(exc).__name__}: {exc}")


def _mark(measurer: Measurer, *parts: str) -> str:
    return hashlib.sha256(repr((_RECORDS, measurer.identity, parts)).encode()).hexdigest()[:16]
