"""COIN (Tang et al., CVPR 2019): ``COIN.json``.

``{"database": {video: {"class": "ReplaceCDDriveWithSSD", "recipe_type": 0, "duration": 56.9, "subset": "training",
"video_url": …, "annotation": [{"id": "212", "segment": [60.0, 69.0], "label": "take out the laptop CD drive"}, …]}}}``.
Videos are stored as ``<recipe_type>/<video>.mp4``.
"""

from __future__ import annotations

from pathlib import Path

from ksgen_export.curation.readers.parsing import UNREADABLE, Entries, problem
from ksgen_export.curation.segments import Annotations, StepSegment
from ksgen_models.library.annotation_files import coin_database, spoken


def read_coin(path: str | Path) -> Annotations:
    """Read ``COIN.json``.

    Raises:
        DatasetError: the file cannot be read or is not COIN's.
    """
    found: Entries = []
    for video, entry in coin_database(path).items():
        try:
            task = spoken(entry["class"])
            steps = list(entry["annotation"])
        except UNREADABLE as exc:
            found.append(problem(video, exc))
            continue
        for step in steps:
            try:
                start, stop = (float(time) for time in step["segment"])
                found.append(StepSegment(video, start, stop, step["label"].strip(), task, "coin"))
            except UNREADABLE as exc:
                found.append(problem(video, exc))
    return Annotations.collect(found)
