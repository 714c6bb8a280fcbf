"""A curation job: annotations and a folder of videos to a manifest, subclips and a report; may be stopped at any time.

Every video is finished on its own and leaves a part; a job that is run again does only the videos without a whole part
made from the same file, annotations and thresholds, and those in which something failed. Near-duplicates are looked for
at the end, over all parts in order, so that the manifest is the same however often a job was stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ksgen_export.curation.filters.duplicates import DuplicateIndex
from ksgen_export.curation.manifest import (
    FAILED,
    KEPT,
    MANIFEST,
    REJECTED,
    SCHEMA,
    Row,
    read_part,
    to_table,
    write_part,
)
from ksgen_export.curation.measure import Tools, load_tools
from ksgen_export.curation.segments import WHOLE, Annotations, Problem, StepSegment
from ksgen_export.curation.subclip import write_whole
from ksgen_export.curation.thresholds import Thresholds
from ksgen_export.curation.video import Video, curate_video, missing_video
from ksgen_export.jobs import Failure, check_engine, run_tasks
from ksgen_models.errors import DatasetError, InvalidInput

JOB = "job.json"
FORMAT_VERSION = 1
SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".gif"})
"""Files that count as videos."""


@dataclass(frozen=True)
class CurationOptions:
    """How a job works; what is kept is in `Thresholds`.

    Attributes:
        transnet: find scene cuts with TransNetV2 and not by colour histograms.
        side: subclips with a longer shorter side are made smaller, to this many pixels.
    """

    transnet: bool = False
    side: int = 480

    def __post_init__(self) -> None:
        if not 32 <= self.side <= 2160:
            raise InvalidInput(f"the side of subclips is {self.side} pixels; give 32 to 2160")


@dataclass(frozen=True)
class CurationSummary:
    """What a job came to.

    Attributes:
        folder: the job's.
        videos: how many there are.
        resumed: how many of them an earlier run had finished.
        kept, rejected, failed: rows.
        reasons: how many rows were rejected for each reason.
        failures: (video, error) of what failed.
        problems: annotation entries that could not be used, and videos without any.
    """

    folder: Path
    videos: int
    resumed: int
    kept: int
    rejected: int
    failed: int
    reasons: dict[str, int]
    failures: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]


def curate(
    videos: str | Path,
    out: str | Path,
    annotations: Annotations | None = None,
    *,
    thresholds: Thresholds | None = None,
    options: CurationOptions | None = None,
    workers: int = 1,
    engine: str = "local",
    progress: bool = True,
) -> CurationSummary:
    """Curate a folder of videos.

    Args:
        videos: folder, searched with its subfolders; a file's name without its ending is the video's id.
        out: the job's folder; made when it is missing. A job that was stopped goes on.
        annotations: from `ksgen_export.curation.readers`; None takes every video as one segment without a sentence.
        thresholds: what is kept; None takes the defaults.
        options: how; None takes the defaults.
        workers: processes; with Ray 0 takes as many as the cluster has room for.
        engine: see `ksgen_export.jobs.run_tasks`.
        progress: show a progress bar on standard error.

    Raises:
        DatasetError: there are no videos, ``out`` holds a job with other thresholds or options, or cannot be written.
        WeightsMissing: the hand networks, or TransNetV2 where asked for, are not on this machine.
        InvalidInput: ``workers`` is below 1, or there is no such engine.
    """
    limits, how = thresholds or Thresholds(), options or CurationOptions()
    check_engine(engine, workers, 1)
    if workers < 1 and engine == "local":
        raise InvalidInput(f"workers is {workers}; give 1 or more")
    folder = Path(out)
    files, ambiguous = find_videos(videos)
    found, missing, problems = match(Path(videos), files, annotations)
    problems += ambiguous
    _begin(folder, limits, how, problems)
    parts = {video.name: folder / "parts" / f"{video.slug}.parquet" for video in found}
    stamps = {video.name: _stamp(video) for video in found}
    todo = [video for video in found if not _is_done(parts[video.name], stamps[video.name])]
    # What failed or could not be written has no part, or one that the next run does again; it is told from here.
    loose: dict[str, list[Row]] = {}
    for video, rows in _with_progress(
        _run(todo, CurationWork(folder.resolve(), limits, how), workers, engine), len(todo), progress
    ):
        try:
            write_part(parts[video.name], rows, stamps[video.name])
        except OSError as exc:
            error = f"DatasetError: cannot write to {folder} ({exc}); free space, then run again"
            loose[video.name] = _failed(video, error)

    def all_rows() -> Iterator[Row]:
        for video in found:
            yield from loose.get(video.name) or read_part(parts[video.name]) or []
        yield from missing

    summary = CurationSummary(folder, len(found), len(found) - len(todo), 0, 0, 0, {}, (), tuple(problems))
    return _finish(summary, all_rows, limits)


def find_videos(folder: str | Path) -> tuple[dict[str, Path], list[Problem]]:
    """Video files by id, and the ids that several files have, of which the first is taken.

    Raises:
        DatasetError: there is no such folder, or no video in it.
    """
    if not Path(folder).is_dir():
        raise DatasetError(f"{folder} is no folder of videos")
    files: dict[str, Path] = {}
    problems = []
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            if path.stem in files:
                problems.append(Problem(path.stem, f"{path} has the same id as {files[path.stem]}; it was left out"))
            else:
                files[path.stem] = path
    if not files:
        raise DatasetError(f"no video under {folder}; known endings are {', '.join(sorted(SUFFIXES))}")
    return files, problems


def match(
    folder: Path, files: dict[str, Path], annotations: Annotations | None
) -> tuple[list[Video], list[Row], list[Problem]]:
    """Put segments and files together.

    Returns:
        The videos with their segments, the rows of segments without a video, and the problems: those of the annotations
        and the videos that no annotation speaks of.
    """
    if annotations is None:
        segments = [StepSegment(name, 0.0, WHOLE, "", "", "videos") for name in sorted(files)]
        problems: list[Problem] = []
    else:
        segments = list(annotations.segments)
        problems = list(annotations.problems)
        named = {segment.video for segment in segments} | {problem.video for problem in problems}
        without = sorted(set(files) - named)
        problems += [Problem(name, f"no annotation for {files[name].relative_to(folder)}") for name in without]
    found, missing = [], []
    for name, group in itertools.groupby(segments, key=lambda segment: segment.video):
        mine = tuple(group)
        if name in files:
            found.append(Video(name, files[name], files[name].relative_to(folder).as_posix(), mine))
        else:
            missing += [missing_video(segment, number) for number, segment in enumerate(mine)]
    return found, missing, problems


def _begin(folder: Path, limits: Thresholds, how: CurationOptions, problems: list[Problem]) -> None:
    """Write the job's record, or check that the folder's own is of the same thresholds and options."""
    wanted = {"format": FORMAT_VERSION, "thresholds": limits.as_dict(), "options": asdict(how)}
    path = folder / JOB
    try:
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in wanted if before.get(name) != wanted[name]]
            if changed:
                raise DatasetError(
                    f"{folder} holds a job with other {', '.join(changed)}; choose another folder or delete this one"
                )
        record = wanted | {"problems": [asdict(problem) for problem in problems]}
        write_whole(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    except (OSError, ValueError, AttributeError) as exc:
        raise DatasetError(f"cannot use {folder} for a job ({exc}); choose another folder") from exc


def _stamp(video: Video) -> str:
    """Says what a part is made from: the file's size and time, and the segments."""
    state = video.path.stat()
    content = json.dumps([state.st_size, state.st_mtime_ns, [asdict(segment) for segment in video.segments]])
    return hashlib.sha256(content.encode()).hexdigest()


def _is_done(part: Path, stamp: str) -> bool:
    rows = read_part(part, stamp)
    if rows is None or any(row.status == FAILED for row in rows):
        return False
    return all((part.parents[1] / row.clip).is_file() for row in rows if row.clip)


@dataclass(frozen=True)
class CurationWork:
    """What the workers of a job do, a `ksgen_export.jobs.Work`: videos become rows.

    Attributes:
        folder: the job's.
        limits: what is kept.
        how: options.
    """

    folder: Path
    limits: Thresholds
    how: CurationOptions

    @contextmanager
    def __call__(self) -> Iterator[Callable[[Video], list[Row]]]:
        """Load the hand tracker and, if asked for, TransNetV2."""
        with load_tools(transnet=self.how.transnet) as tools:
            yield lambda video: _curated(video, self.folder, tools, self.limits, self.how)


def _run(videos: list[Video], work: CurationWork, workers: int, engine: str) -> Iterator[tuple[Video, list[Row]]]:
    """Videos and their rows, as they are done."""
    if engine == "local" and (workers == 1 or len(videos) <= 1):
        if videos:
            with work() as do:
                yield from ((video, do(video)) for video in videos)
        return
    absolute = [replace(video, path=video.path.resolve()) for video in videos]
    for video, answer in run_tasks(absolute, work, engine=engine, workers=workers):
        yield video, _failed(video, answer.error) if isinstance(answer, Failure) else answer


def _curated(video: Video, folder: Path, tools: Tools, limits: Thresholds, how: CurationOptions) -> list[Row]:
    """The rows of one video, whatever happens to it."""
    try:
        return curate_video(video, folder, tools, limits, how.side)
    except Exception as exc:
        return _failed(video, f"{type(exc).__name__}: {exc}")


def _failed(video: Video, error: str) -> list[Row]:
    rows = [missing_video(segment, number) for number, segment in enumerate(video.segments)]
    return [replace(row, path=video.relative, detail=error) for row in rows]


def _finish(summary: CurationSummary, all_rows: Callable[[], Iterable[Row]], limits: Thresholds) -> CurationSummary:
    """Write manifest and report and count.

    Raises:
        DatasetError: they cannot be written.
    """
    from ksgen_export.curation.report import ReportBuilder

    report = ReportBuilder(limits)
    path = summary.folder / MANIFEST
    partial = path.with_name(f".{path.name}.part")
    failures = []
    try:
        with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            for rows in _batched(without_duplicates(all_rows(), limits), 1024):
                writer.write_table(to_table(rows, SCHEMA))
                for row in rows:
                    report.add(row)
                    if row.status == FAILED:
                        failures.append((row.video, row.detail))
        partial.replace(path)
        counted = replace(
            summary,
            kept=report.counts[KEPT],
            rejected=report.counts[REJECTED],
            failed=report.counts[FAILED],
            reasons=dict(report.reasons),
            failures=tuple(failures),
        )
        write_whole(summary.folder / "report.html", report.render(counted).encode())
    except (OSError, pa.ArrowException) as exc:
        raise DatasetError(f"cannot write {path} ({exc}); free space, then run again to go on") from exc
    finally:
        partial.unlink(missing_ok=True)
    return counted


def without_duplicates(rows: Iterable[Row], limits: Thresholds) -> Iterator[Row]:
    """The rows with near-duplicates of earlier subclips rejected."""
    index = DuplicateIndex(round(limits.duplicate_bits))
    for row in rows:
        if row.status != KEPT:
            yield row
            continue
        hashes = np.frombuffer(row.hashes, np.uint16).reshape(row.frames, -1)
        twin, share = index.find(hashes)
        if share >= limits.duplicate_share:
            yield replace(row, status=REJECTED, reasons=("near_duplicate",), detail=twin, clip="")
        else:
            index.add(row.clip, hashes)
            yield row


def _batched(rows: Iterable[Row], count: int) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, count)):
        yield batch


def _with_progress(
    results: Iterator[tuple[Video, list[Row]]], total: int, progress: bool
) -> Iterator[tuple[Video, list[Row]]]:
    from tqdm import tqdm

    with tqdm(total=total, unit="video", desc="curation", disable=not progress or not total) as bar:
        for video, rows in results:
            bar.update()
            for row in rows:
                if row.status == FAILED and progress:
                    bar.write(f"{video.name}: {row.detail}")
            yield video, rows
