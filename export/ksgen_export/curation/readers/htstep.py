"""HT-Step (Afouras et al., NeurIPS 2023): the annotations JSON and ``taxonomy.csv``.

``{video: {"activity": …, "annotations": [{"id": global step index, "segment": [start, end]}, …], …}}``; the taxonomy
has the columns global_step_index, activity, step_index, variation, variation_index, headline, paragraph. Videos are
HowTo100M's.
"""

from __future__ import annotations

from pathlib import Path

from ksgen_export.curation.readers.parsing import UNREADABLE, Entries, problem
from ksgen_export.curation.segments import Annotations, StepSegment
from ksgen_models.errors import DatasetError
from ksgen_models.library.annotation_files import read_json, read_table


def read_htstep(annotations: str | Path, taxonomy: str | Path) -> Annotations:
    """Read the annotations; the sentences are the headlines of the taxonomy.

    Raises:
        DatasetError: a file cannot be read or is not HT-Step's.
    """
    headlines = {}
    for row in read_table(taxonomy, "HT-Step", {"global_step_index", "activity", "headline"}):
        try:
            headlines[int(row["global_step_index"])] = (row["headline"].strip().rstrip(".;"), row["activity"].strip())
        except UNREADABLE as exc:
            raise DatasetError(f"{taxonomy} is not a taxonomy of HT-Step ({exc!r})") from exc
    found: Entries = []
    for video, entry in read_json(annotations, "HT-Step").items():
        try:
            steps = list(entry["annotations"])
        except UNREADABLE as exc:
            found.append(problem(video, exc))
            continue
        for step in steps:
            try:
                start, stop = (float(time) for time in step["segment"])
                headline, activity = headlines[int(step["id"])]
                found.append(StepSegment(video, start, stop, headline, activity.lower(), "htstep"))
            except UNREADABLE as exc:
                found.append(problem(video, exc))
    return Annotations.collect(found)
