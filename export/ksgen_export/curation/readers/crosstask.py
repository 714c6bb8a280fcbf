"""CrossTask (Zhukov et al., CVPR 2019): a task list and a folder of annotations.

``tasks_primary.txt``: blocks of five lines (id, title, address, number of steps, steps joined by commas) with an empty
line between. ``annotations/<task id>_<video>.csv``: lines ``step,start,end`` without headings, steps counted from 1.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ksgen_export.curation.readers.parsing import UNREADABLE, Entries, problem
from ksgen_export.curation.segments import Annotations, Problem, StepSegment
from ksgen_models.errors import DatasetError
from ksgen_models.library.annotation_files import crosstask_tasks

_NAME = re.compile(r"(\d+)_(.+)")


def read_crosstask(tasks: str | Path, annotations: str | Path) -> Annotations:
    """Read a task list and the annotations of its tasks; annotations of tasks that it does not list are left out.

    Raises:
        DatasetError: the list or the folder cannot be read or is not CrossTask's.
    """
    titles = {number: (title.lower(), steps) for number, title, steps in crosstask_tasks(tasks)}
    folder = Path(annotations)
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not the annotations folder of CrossTask")
    found: Entries = []
    for path in sorted(folder.glob("*.csv")):
        named = _NAME.fullmatch(path.stem)
        if not named:
            found.append(Problem(path.stem, f"{path.name} is not called <task id>_<video>.csv"))
        elif named[1] in titles:
            title, steps = titles[named[1]]
            found += _read_video(path, named[2], title, steps)
    return Annotations.collect(found)


def _read_video(path: Path, video: str, title: str, steps: tuple[str, ...]) -> Entries:
    found: Entries = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as exc:
        return [problem(video, exc)]
    for row in rows:
        try:
            number, start, stop = int(row[0]), float(row[1]), float(row[2])
            if not 1 <= number <= len(steps):
                raise ValueError(f"step {number} of {len(steps)}")
            found.append(StepSegment(video, start, stop, steps[number - 1], title, "crosstask"))
        except UNREADABLE as exc:
            found.append(problem(video, exc))
    return found
