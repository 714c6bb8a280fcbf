"""EPIC-KITCHENS-100 (Damen et al., IJCV 2022): ``EPIC_100_train.csv`` and ``EPIC_100_validation.csv``.

Of its columns video_id, start_timestamp, stop_timestamp (``HH:mm:ss.SS``) and narration are read; the older
EPIC-KITCHENS-55 files have the same ones. Videos are stored as ``<participant>/videos/<video id>.MP4``.
"""

from __future__ import annotations

from pathlib import Path

from ksgen_export.curation.readers.parsing import UNREADABLE, Entries, problem
from ksgen_export.curation.segments import Annotations, StepSegment
from ksgen_models.library.annotation_files import read_table


def read_epic_kitchens(path: str | Path) -> Annotations:
    """Read one of the split files with narrations; the data set knows actions and no tasks.

    Raises:
        DatasetError: the file cannot be read or is not EPIC-KITCHENS' (the timestamps of the test split have no
            narrations).
    """
    found: Entries = []
    columns = {"video_id", "start_timestamp", "stop_timestamp", "narration"}
    for row in read_table(path, "EPIC-KITCHENS", columns):
        try:
            start, stop = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
            found.append(StepSegment(row["video_id"], start, stop, row["narration"].strip(), "", "epic-kitchens"))
        except UNREADABLE as exc:
            found.append(problem(row.get("video_id"), exc))
    return Annotations.collect(found)


def seconds(stamp: str) -> float:
    """``01:02:03.50`` → 3723.5.

    Raises:
        ValueError: it is no such stamp.
    """
    hours, minutes, rest = stamp.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)
