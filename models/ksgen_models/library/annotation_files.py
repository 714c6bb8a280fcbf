"""The annotation files of other people's data sets as they lie on disk, with errors that name the file.

`ksgen_models.library.annotations` makes procedures of them; `ksgen_export.curation` finds the steps of videos in them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ksgen_models.errors import DatasetError

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def read_json(path: str | Path, name: str) -> dict[str, Any]:
    """The object at the top of a JSON file.

    Raises:
        DatasetError: no such file, no JSON, or no object.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise DatasetError(f"{path} is not a readable annotation file of {name} ({exc})") from exc
    if not isinstance(document, dict):
        raise DatasetError(f"{path} is not an annotation file of {name}: its top is a {type(document).__name__}")
    return document


def read_table(path: str | Path, name: str, columns: set[str]) -> Iterator[Mapping[str, str]]:
    """The rows of a CSV file with a line of headings.

    Raises:
        DatasetError: no such file, no text, or a column is missing.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = columns - set(rows.fieldnames or ())
            if missing:
                raise DatasetError(
                    f"{path} is not an annotation file of {name}: no column {', '.join(sorted(missing))}"
                )
            yield from rows
    except (OSError, ValueError, csv.Error) as exc:
        raise DatasetError(f"{path} is not a readable annotation file of {name} ({exc})") from exc


def coin_database(path: str | Path) -> dict[str, Any]:
    """The videos of ``COIN.json``.

    Raises:
        DatasetError: the file cannot be read or is not COIN's.
    """
    database = read_json(path, "COIN").get("database")
    if not isinstance(database, dict):
        raise DatasetError(f'{path} has no "database"; expected COIN.json')
    return database


def crosstask_tasks(path: str | Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Id, title and steps of each task in a task list of CrossTask.

    Raises:
        DatasetError: the file cannot be read or is not CrossTask's.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{path} is not a readable task list of CrossTask ({exc})") from exc
    blocks = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        lines = [line.strip() for line in block.split("\n")]
        if len(lines) != 5 or not lines[3].isdigit():
            raise DatasetError(
                f"{path}: {block[:80]!r} is not a task of CrossTask; expected five lines: id, title, address, number "
                "of steps, steps"
            )
        steps = tuple(step.strip() for step in lines[4].split(","))
        if len(steps) != int(lines[3]) or not all(steps):
            raise DatasetError(f"{path}: task {lines[0]} announces {lines[3]} steps and lists {len(steps)}")
        blocks.append((lines[0], lines[1], steps))
    return blocks


def spoken(name: str) -> str:
    """``ReplaceCDDriveWithSSD`` → ``replace CD drive with SSD``."""
    return lowered(_HUMP.sub(" ", name).replace("_", " "))


def lowered(title: str) -> str:
    """Lower case, but for abbreviations."""
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in title.split())
