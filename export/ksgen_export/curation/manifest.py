"""The manifest: one row for every stretch of frames that curation looked at, kept or not, in Parquet.

::

    <out>/manifest.parquet     every row, in the order of videos and times; what training reads
    <out>/report.html          what was kept and dropped, with pictures
    <out>/job.json             thresholds, options, and the annotation entries that could not be used
    <out>/clips/…/….npz        the kept subclips, see `ksgen_export.curation.subclip`
    <out>/parts/….parquet      the rows of single videos, from which a stopped job goes on

The columns are those of `Row`; `SCHEMA` has their types. Rows of one segment do not overlap and leave no frame out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ksgen_export.curation.subclip import Subclip, load_subclip, write_whole
from ksgen_models.errors import DatasetError

MANIFEST = "manifest.parquet"
KEPT, REJECTED, FAILED = "kept", "rejected", "failed"


@dataclass(frozen=True)
class Row:
    """Some frames of a video and what became of them.

    Attributes:
        video: the video's id.
        path: its file, relative to the folder of videos; empty where there is none.
        source, task, description: the data set, and what its annotation says.
        segment: number of the step segment in its video, from 0.
        segment_start, segment_stop: seconds; NaN where the segment goes to the end of the video.
        start, stop: seconds of these frames.
        frames: how many they are, at the sampled rate.
        fps: that rate; 0 where nothing was sampled.
        height, width: of the video, pixels.
        status: ``"kept"``, ``"rejected"`` or ``"failed"``.
        reasons: why it was rejected, keys of `ksgen_export.curation.parts.REASONS`.
        detail: the error of what failed; for a near-duplicate, the subclip that was kept.
        cut, motion, shake, blur, text, hand: the figures: the greatest ``cut``, the medians of ``motion``, ``shake``
            and ``blur``, the greatest ``text``, the share of frames with a ``hand``; NaN where not measured.
        clip: file of the subclip, relative to the manifest's folder; empty where nothing was kept.
        hashes: perceptual hashes of the frames of a subclip, 32 bytes each.
        picture: a strip of the frames as WebP; only in the parts.
    """

    video: str
    path: str
    source: str
    task: str
    description: str
    segment: int
    segment_start: float
    segment_stop: float
    start: float
    stop: float
    frames: int
    fps: float
    height: int
    width: int
    status: str
    reasons: tuple[str, ...] = ()
    detail: str = ""
    cut: float = float("nan")
    motion: float = float("nan")
    shake: float = float("nan")
    blur: float = float("nan")
    text: float = float("nan")
    hand: float = float("nan")
    clip: str = ""
    hashes: bytes = field(default=b"", repr=False)
    picture: bytes = field(default=b"", repr=False)


_TEXT = ("video", "path", "source", "task", "description", "status", "detail", "clip")
_WHOLE = ("segment", "frames", "height", "width")
_BYTES = ("hashes", "picture")


def _type_of(name: str) -> pa.DataType:
    if name == "reasons":
        return pa.list_(pa.string())
    if name in _TEXT:
        return pa.string()
    if name in _WHOLE:
        return pa.int32()
    return pa.binary() if name in _BYTES else pa.float64()


SCHEMA = pa.schema([(name, _type_of(name)) for name in Row.__dataclass_fields__ if name != "picture"])
"""Of the manifest."""
PART_SCHEMA = SCHEMA.append(pa.field("picture", pa.binary()))
"""Of a part."""


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table of `SCHEMA` or `PART_SCHEMA`."""
    entries = [asdict(row) | {"reasons": list(row.reasons)} for row in rows]
    return pa.Table.from_pylist([{name: entry[name] for name in schema.names} for entry in entries], schema)


def to_rows(table: pa.Table) -> list[Row]:
    """The rows of a table."""
    return [_row(entry) for entry in table.to_pylist()]


def write_part(path: Path, rows: Sequence[Row], stamp: str) -> None:
    """Write the rows of one video, whole or not at all; ``stamp`` says what they were made from.

    Raises:
        OSError: it cannot be written.
    """
    table = to_table(rows, PART_SCHEMA).replace_schema_metadata({"stamp": stamp})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def read_part(path: Path, stamp: str | None = None) -> list[Row] | None:
    """The rows of a part; None where it is missing, damaged, or made from something else than ``stamp`` says."""
    try:
        table = pq.read_table(path)
        if stamp is not None and (table.schema.metadata or {}).get(b"stamp") != stamp.encode():
            return None
        return to_rows(table)
    except (OSError, pa.ArrowException, TypeError, ValueError):
        return None


def read_manifest(folder: str | Path) -> Iterator[Row]:
    """The rows of a curated folder in order, some thousand at a time in memory.

    Raises:
        DatasetError: the folder holds no manifest, or it is not one of this version.
    """
    path = Path(folder) / MANIFEST
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != SCHEMA.names:
                raise DatasetError(f"{path} has other columns than this version writes; curate anew")
            for batch in file.iter_batches(4096):
                yield from (_row(entry) for entry in batch.to_pylist())
    except (OSError, pa.ArrowException) as exc:
        raise DatasetError(f"{path} is not a readable manifest ({exc}); run ksgen-agent curate") from exc


def read_subclips(folder: str | Path) -> Iterator[Subclip]:
    """The kept subclips of a curated folder in order, one at a time in memory.

    Raises:
        DatasetError: the manifest or a subclip cannot be read.
    """
    for row in read_manifest(folder):
        if row.status == KEPT:
            yield load_subclip(Path(folder) / row.clip)


def _row(entry: dict[str, Any]) -> Row:
    values: dict[str, Any] = {**entry, "reasons": tuple(entry["reasons"])}
    return Row(**values)
