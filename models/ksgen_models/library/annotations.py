"""Procedures out of the annotation files of COIN, CrossTask and HT-Step.

The three sets are not shipped: their licences and sizes forbid it. Who has them reads them here, into the same
`Procedure` as this project's own steps, and gives the planner ``default_library() + coin_library(path)``.

Of a task that was annotated in several videos (COIN, CrossTask) the procedure is the sequence of steps that most of
them show, repeats that follow one another counted once, and of equally common sequences the longest.

* COIN (Tang et al., CVPR 2019): ``COIN.json``, ``{"database": {video: {"class": "ReplaceCDDriveWithSSD",
  "annotation": [{"id": "212", "segment": [60.0, 69.0], "label": "take out the laptop CD drive"}, …], …}}}``.
* CrossTask (Zhukov et al., CVPR 2019): ``tasks_primary.txt`` or ``tasks_related.txt``, blocks of five lines (id,
  title, address, number of steps, steps joined by commas) with an empty line between; and, if wanted, a folder of
  ``<task id>_<video>.csv`` files with lines ``step,start,end``, steps counted from 1.
* HT-Step (Afouras et al., NeurIPS 2023): ``taxonomy.csv`` with the columns global_step_index, activity, step_index,
  variation, variation_index, headline, paragraph; and, if wanted, the annotations JSON, ``{video: {"activity": …,
  "annotations": [{"id": global step index, "segment": [start, end]}, …], …}}``.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ksgen_models.errors import DatasetError
from ksgen_models.library import Library, Procedure
from ksgen_models.library.annotation_files import (
    coin_database,
    crosstask_tasks,
    lowered,
    read_json,
    read_table,
    spoken,
)

_HTSTEP_COLUMNS = {"global_step_index", "activity", "step_index", "variation", "headline"}


def coin_library(path: str | Path) -> Library:
    """Read ``COIN.json``.

    Raises:
        DatasetError: the file cannot be read or is not COIN's.
    """
    database = coin_database(path)
    sequences: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    try:
        for video in database.values():
            shown = sorted(video["annotation"], key=lambda step: float(step["segment"][0]))
            sequences[video["class"]].append(_merged(step["label"].strip() for step in shown))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        raise DatasetError(f"{path} is not an annotation file of COIN ({exc!r})") from exc
    return _library("coin", {name: (spoken(name), _commonest(shown)) for name, shown in sequences.items()})


def crosstask_library(tasks: str | Path, annotations: str | Path | None = None) -> Library:
    """Read a task list of CrossTask.

    Args:
        tasks: ``tasks_primary.txt`` or ``tasks_related.txt``.
        annotations: the folder of csv files; with it, a task's steps stand in the order in which most videos show
            them, without it, as the list has them.

    Raises:
        DatasetError: a file cannot be read or is not CrossTask's.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for number, title, steps in crosstask_tasks(tasks):
        shown = _crosstask_orders(Path(annotations), number, steps) if annotations is not None else []
        found[number] = (title, _commonest(shown) or steps)
    return _library("crosstask", found)


def htstep_library(taxonomy: str | Path, annotations: str | Path | None = None) -> Library:
    """Read HT-Step: one procedure for each activity and variation of its article.

    Args:
        taxonomy: ``taxonomy.csv``.
        annotations: the annotations JSON; with it, steps that no video of the activity shows are left out.

    Raises:
        DatasetError: a file cannot be read or is not HT-Step's.
    """
    shown = _htstep_shown(annotations) if annotations is not None else None
    articles: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    try:
        for row in read_table(taxonomy, "HT-Step", _HTSTEP_COLUMNS):
            if shown is None or int(row["global_step_index"]) in shown:
                key = (row["activity"].strip(), row["variation"].strip())
                articles[key].append((int(row["step_index"]), row["headline"].strip().rstrip(".;")))
    except (KeyError, ValueError, AttributeError, TypeError) as exc:
        raise DatasetError(f"{taxonomy} is not a taxonomy of HT-Step ({exc!r})") from exc
    found = {}
    for (activity, variation), rows in articles.items():
        plain = variation in ("", "none")
        title = activity if plain else f"{activity} ({variation})"
        steps = tuple(headline for _, headline in sorted(rows) if headline)
        found[activity if plain else f"{activity}-{variation}"] = (title, steps)
    return _library("htstep", found)


def _library(source: str, found: dict[str, tuple[str, tuple[str, ...]]]) -> Library:
    """Procedures from key → (title, steps); tasks that nobody showed a step of are left out."""
    return Library(
        tuple(
            Procedure(
                id=f"{source}-{_slug(key)}",
                task=lowered(title),
                wordings=(),
                steps=tuple(step[0].upper() + step[1:] for step in steps),
                source=source,
            )
            for key, (title, steps) in found.items()
            if steps
        )
    )


def _commonest(sequences: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    counted = Counter(sequence for sequence in sequences if sequence)
    return max(counted, key=lambda sequence: (counted[sequence], len(sequence), sequence), default=())


def _merged(steps: Iterable[str]) -> tuple[str, ...]:
    merged: list[str] = []
    for step in steps:
        if step and (not merged or merged[-1] != step):
            merged.append(step)
    return tuple(merged)


def _crosstask_orders(folder: Path, number: str, steps: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not the annotations folder of CrossTask")
    orders = []
    for path in sorted(folder.glob(f"{number}_*.csv")):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [(float(row[1]), int(row[0])) for row in csv.reader(file) if row]
            orders.append(_merged(steps[_counted_from_one(index, len(steps))] for _, index in sorted(rows)))
        except (OSError, ValueError, IndexError) as exc:
            raise DatasetError(f"{path} is not an annotation of CrossTask ({exc})") from exc
    return orders


def _counted_from_one(index: int, count: int) -> int:
    if not 1 <= index <= count:
        raise ValueError(f"step {index} of {count}")
    return index - 1


def _htstep_shown(path: str | Path) -> set[int]:
    try:
        videos = read_json(path, "HT-Step").values()
        return {int(segment["id"]) for video in videos for segment in video["annotations"]}
    except (KeyError, TypeError, ValueError) as exc:
        raise DatasetError(f"{path} is not an annotation file of HT-Step ({exc!r})") from exc


def _slug(key: str) -> str:
    return re.sub(r"\W+", "-", key.lower()).strip("-")
